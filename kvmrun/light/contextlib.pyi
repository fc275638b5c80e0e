from contextlib import ExitStack as ExitStack
from contextlib import contextmanager as contextmanager
from contextlib import suppress as suppress
