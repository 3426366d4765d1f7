"""The program's end of the wire: does to the program's objects what a test asks for. Runs in the program's process."""

from wire import Wire

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
    """The program raised an error in its own top-level code; holds that error."""


def serve(code, new_globals, execute, descriptor: int) -> None:
    """Answers the tests until they end. `code`: of the program; `new_globals()`: to run it in; `execute`: `exec`.

    Raises PeerGone when the tests are through, and whatever ends the program.
    """
    namespace: dict = {}

    def answer(operation: str, arguments: list, named: dict):
        nonlocal namespace
        if operation == "load":
            namespace = new_globals()
            try:
                execute(code, namespace)
            except Exception as error:
                raise Ended(error) from None
        elif operation == "names":
            return {name: namespace[name] for name in arguments if name in namespace}
        elif operation == "define":  # functions of the prompt that the tests repeat: only those the program lacks
            of_program = dict(namespace)
            execute(arguments[0], namespace)
            namespace.update(of_program)
        else:
            return _OPERATIONS[operation](*arguments, **named)

    wire = Wire(descriptor, answer, trusting=True)
    wire.greet()
    wire.serve()
