from typing import Any as Any
from typing import ClassVar as ClassVar
from typing import Literal as Literal
from typing import Never as Never
from typing import Protocol as Protocol
from typing import Self as Self
from typing import TypeVar as TypeVar
from typing import assert_never as assert_never
from typing import dataclass_transform as dataclass_transform

def choices(kind: object) -> tuple[object, ...]: ...
