"""The program's end of the wire: does to the program's objects what a test asks for. Runs in the program's process."""

import plain

_OPERATIONS = {
    "call": lambda target, *arguments, **named: target(*arguments, **named),
    "getattr": getattr,
    "setattr": setattr,
    "getitem": lambda target, key: target[key],
    "setitem": lambda target, key, value: target.__setitem__(key, value),
    "iter": iter,
    "next": next,
    "len": len,
    "bool": bool,
    "str": str,
    "eq": lambda left, right: bool(left == right),
    "isinstance": isinstance,
}


class Ended(BaseException):
    """The program did not get through its own first lines; holds what it raised."""


def serve(code, fresh, execute, descriptor: int) -> None:
    """Answers the tests until they end. `code`: of the program; `fresh()`: globals to run it in; `execute`: `exec`.

    Raises Gone when the tests are through, and what ends the program.
    """
    namespace: dict = {}

    def answer(operation: str, arguments: list, named: dict):
        nonlocal namespace
        if operation == "load":
            namespace = fresh()
            try:
                execute(code, namespace)
            except Exception as error:
                raise Ended(error) from None
        elif operation == "names":
            return {name: namespace[name] for name in arguments if name in namespace}
        elif operation == "define":  # what the prompt defines and the tests bring along: only where it is missing
            own = dict(namespace)
            execute(arguments[0], namespace)
            namespace.update(own)
        else:
            return _OPERATIONS[operation](*arguments, **named)

    wire = plain.Wire(descriptor, answer, trusting=True)
    wire.greet()
    wire.serve()
