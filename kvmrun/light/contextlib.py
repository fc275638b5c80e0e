"""The contexts that are everywhere: `contextlib` brings collections and functools, 2 ms."""


def contextmanager(make):
    def begun(*words, **named):
        return _Generated(make(*words, **named))

    begun.__name__, begun.__doc__, begun.__wrapped__ = make.__name__, make.__doc__, make
    return begun


class _Generated:
    """A context by a generator that yields once."""

    def __init__(self, generator):
        self._generator = generator

    def __enter__(self):
        try:
            return next(self._generator)
        except StopIteration:
            raise RuntimeError("it did not yield") from None

    def __exit__(self, kind, why, trace):
        if kind is None:
            return self._ends()
        why = kind() if why is None else why
        try:
            self._generator.throw(why)
        except StopIteration as end:
            return end is not why
        except RuntimeError as error:
            if error is not why and not (isinstance(why, StopIteration) and error.__cause__ is why):
                raise
            why.__traceback__ = trace
            return False
        except BaseException as error:
            if error is not why:
                raise
            error.__traceback__ = trace
            return False
        self._generator.close()
        raise RuntimeError("it did not stop after an exception")

    def _ends(self):
        try:
            next(self._generator)
        except StopIteration:
            return False
        self._generator.close()
        raise RuntimeError("it did not stop")


class suppress:  # noqa: N801 - as it is called everywhere
    def __init__(self, *kinds):
        self._kinds = kinds

    def __enter__(self):
        return None

    def __exit__(self, kind, why, trace):
        return kind is not None and issubclass(kind, self._kinds)


class ExitStack:
    def __init__(self):
        self._ends = []

    def enter_context(self, context):
        value = context.__enter__()
        self._ends.append(context.__exit__)
        return value

    def callback(self, call, *words):
        self._ends.append(lambda *_: call(*words) and None)

    def pop_all(self):
        other = ExitStack()
        self._ends, other._ends = other._ends, self._ends
        return other

    def close(self):
        self.__exit__(None, None, None)

    def __enter__(self):
        return self

    def __exit__(self, kind, why, trace):
        """As if the contexts were nested: what one swallows the outer ones do not see, what one raises they do."""
        given, now = why, why
        while self._ends:
            end = self._ends.pop()
            try:
                if end(type(now), now, now.__traceback__) if now else end(None, None, None):
                    now = None
            except BaseException as error:
                if error.__context__ is None and error is not now:
                    error.__context__ = now
                now = error
        if now is not None and now is not given:
            raise now
        return given is not None and now is None
