"""The program's end of the wire: does to the program's objects what a test asks for. Runs in the program's process."""

import usual
from operations import OPERATIONS
from wire import Ended, Wire


class Callee:
    """`codes`: of the prompt, if it has any, and of the program; `new_globals()`: to run them in; `execute`: `exec`;
    `offers`: whether there are names that are usual elsewhere, see `usual`."""

    def __init__(self, codes: list, new_globals, execute, offers: bool):
        self.codes, self.new_globals, self.execute, self.offers = codes, new_globals, execute, offers
        self.namespace: dict = {}
        self.shared: dict = {}  # what the tests know of the namespace, kept up to date
        self.patched: dict = {}  # (module, name) -> what the tests have replaced

    def answer(self, operation: str, arguments: list, named: dict):
        if operation in OPERATIONS:
            try:
                return OPERATIONS[operation](*arguments, **named)
            finally:
                for name in self.shared:
                    self.shared[name] = self.namespace.get(name)
        return getattr(self, f"_{operation}")(*arguments)

    def _load(self, classes: dict, *names: str) -> dict:
        """Runs the program. Returns those of these names that it defines. `classes`: of the tests, for a program that
        lacks them."""
        self.namespace, self.shared = self.new_globals(), {}
        try:
            if self.offers:
                self.namespace.update(usual.used(self.codes[-1]))
            self.namespace.update(classes)
            for code in self.codes:
                self.execute(code, self.namespace)
        except BaseException as error:
            raise Ended(error) from None
        if self.offers:
            self.namespace.update(usual.made({*names} - self.namespace.keys()))
        self.shared = {name: self.namespace[name] for name in names if name in self.namespace}
        return self.shared

    def _patch(self, module: str, name: str, *value) -> None:
        """Puts what the tests have put in a place of the standard library there too; without a value, undoes it."""
        place = __import__(module, fromlist=[name])
        if not value:
            setattr(place, name, self.patched.pop((module, name)))
            return
        self.patched.setdefault((module, name), getattr(place, name))
        setattr(place, name, value[0])

    def _seed(self, *seed) -> None:
        """Seeds the program's random numbers as the tests have seeded theirs."""
        __import__("random").seed(*seed)


def serve(codes: list, new_globals, execute, offers: bool, descriptor: int) -> None:
    """Answers the tests until they end. Raises PeerGone when the tests are through, and whatever ends the program."""
    wire = Wire(descriptor, Callee(codes, new_globals, execute, offers).answer, trusting=True)
    wire.greet()
    wire.serve()
