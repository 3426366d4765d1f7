"""`Reference`: stands for an object that lives in the other process."""


def _forward(operation: str):
    def method(self, *arguments, **named):
        return self._ask(operation, self, *arguments, **named)

    return method


class Reference:
    """An object of the other process. It equals no plain data and takes part in no arithmetic or ordering, so that no
    method of a program can answer a comparison; results of what is asked of it arrive as plain data.
    """

    __slots__ = ("_ask", "_number")

    def __init__(self, ask, number: int):
        object.__setattr__(self, "_ask", ask)
        object.__setattr__(self, "_number", number)

    __call__ = _forward("call")
    __getattr__ = _forward("getattr")
    __setattr__ = _forward("setattr")
    __getitem__ = _forward("getitem")
    __setitem__ = _forward("setitem")
    __next__ = _forward("next")
    __len__ = _forward("len")
    __str__ = _forward("str")

    def __iter__(self):
        iterator = self._ask("iter", self)
        return iterator if isinstance(iterator, Reference) else iter(iterator)

    def __bool__(self):
        return self._ask("bool", self) is True

    def __repr__(self):
        return "<object of the program>"

    def __eq__(self, other):
        if type(other) is not Reference:
            return False
        return self._number == other._number or self._ask("eq", self, other) is True

    def __hash__(self):
        return hash(self._number)

    def __instancecheck__(self, instance):
        return type(instance) is Reference and self._ask("isinstance", instance, self) is True
