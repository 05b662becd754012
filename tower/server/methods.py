"""The registry: each method once, served in two namespaces.

A method is a request type (fields, types and limits, checked by msgspec), a function, and the errors that it may
answer. `@managed(...)` serves it as `managed.NOUN.VERB` and as `app.managed_NOUN_VERB`, `@app(...)` as `app.NAME`.
The namespaces differ in whom they admit, in their envelope, and in what they do with unknown fields.

    class Hello(Request):
        client_id: Annotated[str, Meta(max_length=128)] | None = None

    @app("hello", Hello, errors=(AppContractMajorUnsupported,))
    def hello(call: Call, request: Hello) -> object: ...
"""

from collections.abc import Callable
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any, Final, TypeVar, cast

import msgspec

from tower.config import Settings
from tower.errors import HostOnly, InternalError, ValidationFailed, WireError

APP_CONTRACT_VERSION: Final = "1.1"


class Request(msgspec.Struct, frozen=True):
    """The params of a method; subclasses declare fields, types and limits."""


R = TypeVar("R", bound=Request)


@dataclass(frozen=True)
class Caller:
    """Who asks: a peer on the host, or one inside the bench named here."""

    bench: str | None = None
    """The full container id of the peer's own bench; None for a host peer."""


HOST: Final = Caller()


@dataclass(frozen=True)
class Call:
    """What a method's function gets beside its request."""

    settings: Settings
    caller: Caller


@dataclass(frozen=True)
class UntilJob:
    """Returned by a method whose answer waits for a job.

    The answer is made when the job has ended well, after `times.remove_answer` seconds, or when no worker is alive;
    `answer` gets whether the job has ended, and tells what the database says then. A job that failed is answered with
    its error.
    """

    job_id: int
    answer: Callable[[bool], object]


@dataclass(frozen=True)
class UntilEnd:
    """Returned by a method whose answer waits for something that goes on by itself, until a monotonic time at most.

    `answer` gets whether it has ended.
    """

    ended: Callable[[], bool]
    deadline: float
    answer: Callable[[bool], object]


Later = UntilJob | UntilEnd
"""An answer that is not there yet; whoever waits for it costs no thread."""


@dataclass(frozen=True)
class Method:
    """One method, whatever it is called."""

    name: str
    request: type[Request]
    function: Callable[[Call, Any], object]
    errors: tuple[type[WireError], ...]
    waits: bool
    """Whether it writes, or waits for anything but a read of the database: then a thread of the pool runs it."""

    @cached_property
    def strict_request(self) -> type[Request]:
        """The request type that refuses unknown fields."""
        name, bases = self.request.__name__, (self.request,)
        strict = msgspec.defstruct(name, [], bases=bases, forbid_unknown_fields=True)
        return cast(type[Request], strict)

    @cached_property
    def codes(self) -> frozenset[str]:
        """Every code that it may answer once its request has been read."""
        return frozenset(error.code for error in (*self.errors, *ALWAYS))


ALWAYS: Final[tuple[type[WireError], ...]] = (ValidationFailed, HostOnly, InternalError)
"""Errors that any method may answer."""


@dataclass(frozen=True)
class Namespace:
    """A set of names for methods, and the manners in which they are served."""

    prefix: str
    admits_benches: bool
    refuses_unknown_fields: bool
    extra: dict[str, object]
    """What stands in every envelope beside result or error."""
    methods: dict[str, Method] = field(default_factory=dict)

    def add(self, name: str, method: Method) -> None:
        """Serve the method under this name, prefix not included."""
        if name in self.methods:
            raise ValueError(f"{self.prefix}{name} is declared twice")
        self.methods[name] = method

    def admits(self, caller: Caller) -> bool:
        """Whether the caller may use any name of this namespace."""
        return self.admits_benches or caller.bench is None

    def request_type(self, method: Method) -> type[Request]:
        """What the params are read as."""
        return method.strict_request if self.refuses_unknown_fields else method.request


MANAGED: Final = Namespace("managed.", admits_benches=True, refuses_unknown_fields=True, extra={})
APP: Final = Namespace(
    "app.",
    admits_benches=False,
    refuses_unknown_fields=False,
    extra={"app_contract_version": APP_CONTRACT_VERSION},
)
NAMESPACES: Final = (MANAGED, APP)

_Function = Callable[[Call, R], object]


def managed(
    name: str, request: type[R], *, errors: tuple[type[WireError], ...] = (), waits: bool = False
) -> Callable[[_Function[R]], _Function[R]]:
    """Serve a function as `managed.NAME` and, dots turned to underscores, as `app.managed_NAME`."""

    def register(function: _Function[R]) -> _Function[R]:
        method = Method(name, request, function, errors, waits)
        MANAGED.add(name, method)
        APP.add(f"managed_{name.replace('.', '_')}", method)
        return function

    return register


def app(
    name: str, request: type[R], *, errors: tuple[type[WireError], ...] = (), waits: bool = False
) -> Callable[[_Function[R]], _Function[R]]:
    """Serve a function as `app.NAME`, to host peers only."""

    def register(function: _Function[R]) -> _Function[R]:
        APP.add(name, Method(f"app.{name}", request, function, errors, waits))
        return function

    return register
