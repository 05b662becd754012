"""A line to a request: the envelope, the namespace, the method and its params."""

import re
from collections.abc import Iterable, Sequence
from typing import Any, Final, Literal, NamedTuple, TypeVar, get_args, get_origin

import msgspec

from tower.errors import HostOnly, MalformedRequest, UnknownMethod, ValidationFailed, WireError
from tower.server.methods import NAMESPACES, Caller, Method, Namespace, Request


class Refused(Exception):
    """The line is answered with this error, in the manner of this namespace."""

    def __init__(self, error: WireError, namespace: Namespace | None = None) -> None:
        super().__init__(error)
        self.error = error
        self.namespace = namespace


class Understood(NamedTuple):
    """A request that its caller may make."""

    namespace: Namespace
    method: Method
    request: Request


class _Envelope(msgspec.Struct, forbid_unknown_fields=True):
    method: str
    params: msgspec.Raw = msgspec.Raw(b"{}")


class _OpenEnvelope(msgspec.Struct):
    method: str
    params: msgspec.Raw = msgspec.Raw(b"{}")


_TOO_DEEP: Final = "it is nested too deeply"

E = TypeVar("E")

_strict: Final = msgspec.json.Decoder(_Envelope)
_open: Final = msgspec.json.Decoder(_OpenEnvelope)


def understand(line: bytes, caller: Caller) -> Understood:
    """What a line asks for.

    Raises Refused, with the namespace as soon as it is known.
    """
    try:
        _check_bytes(line)
        envelope, stranger = _envelope(line)
    except WireError as error:
        raise Refused(error) from None
    namespace = _named(envelope.method)
    if namespace is None:
        raise Refused(UnknownMethod(envelope.method[:200]))
    try:
        return _within(namespace, envelope, stranger, caller)
    except WireError as error:
        raise Refused(error, namespace) from None


def namespace_of(line: bytes) -> Namespace | None:
    """The namespace of a line that is not to be understood any further; None where it names none."""
    try:
        method = _open.decode(line).method
    except (msgspec.DecodeError, RecursionError):
        return None
    return _named(method)


def _named(method: str) -> Namespace | None:
    return next((known for known in NAMESPACES if method.startswith(known.prefix)), None)


def _within(
    namespace: Namespace, envelope: _Envelope | _OpenEnvelope, stranger: ValidationFailed | None, caller: Caller
) -> Understood:
    if not namespace.admits(caller):
        raise HostOnly
    method = namespace.methods.get(envelope.method.removeprefix(namespace.prefix))
    if method is None:
        raise UnknownMethod(envelope.method[:200])
    if stranger and namespace.refuses_unknown_fields:
        raise stranger
    return Understood(namespace, method, _params(envelope.params, namespace.request_type(method)))


def _params(raw: msgspec.Raw, request: type[Request]) -> Request:
    try:
        return msgspec.json.decode(raw, type=request)
    except msgspec.ValidationError as error:
        raise explain(error, "params", request) from None
    except msgspec.DecodeError as error:
        raise MalformedRequest(f"it is not JSON: {error}") from None
    except RecursionError:
        raise MalformedRequest(_TOO_DEEP) from None


def _check_bytes(line: bytes) -> None:
    if not line:
        raise MalformedRequest("the line is empty")
    if b"\0" in line:
        raise MalformedRequest("there is a NUL byte in it")
    if b"\r" in line:
        raise MalformedRequest("there is a carriage return in it; lines end with a newline alone")
    try:
        line.decode("utf-8")
    except UnicodeDecodeError as error:
        raise MalformedRequest(f"byte {error.start} is not UTF-8") from None


def _envelope(line: bytes) -> tuple[_Envelope | _OpenEnvelope, ValidationFailed | None]:
    """The envelope, and the complaint about a field that does not belong there."""
    try:
        return _decoded(_strict, line), None
    except ValidationFailed as stranger:
        return _decoded(_open, line), stranger


def _decoded(decoder: msgspec.json.Decoder[E], line: bytes) -> E:
    try:
        return decoder.decode(line)
    except msgspec.ValidationError as error:
        _check_object(line)
        raise explain(error, "request", _OpenEnvelope) from None
    except msgspec.DecodeError as error:
        raise MalformedRequest(f"it is not JSON: {error}") from None
    except RecursionError:
        raise MalformedRequest(_TOO_DEEP) from None


def _check_object(line: bytes) -> None:
    """Look at the whole line, which a check of types leaves where it finds the first wrong one."""
    try:
        msgspec.json.decode(line, type=dict[str, msgspec.Raw])
    except msgspec.ValidationError:
        raise MalformedRequest("it is JSON, but no object") from None
    except msgspec.DecodeError as error:
        raise MalformedRequest(f"it is not JSON: {error}") from None
    except RecursionError:
        raise MalformedRequest(_TOO_DEEP) from None


_AT: Final = re.compile(r" - at (?:`key` in )?`\$\.?([^`]*)`$")
_MEMBER: Final = re.compile(r"^Object (?:contains unknown|missing required) field `(.*?)`(?: - at `\$|$)", re.DOTALL)
_INDEX: Final = re.compile(r"\[[^\]]*\]$")


def explain(error: msgspec.ValidationError, whole: str, request: type[msgspec.Struct]) -> ValidationFailed:
    """What msgspec has found, with the name of the field; `whole` names what all of them are in."""
    text = str(error)
    at = _AT.search(text)
    path = _INDEX.sub("", at[1]) if at else ""
    inside = path
    member = _MEMBER.search(text)
    if member:
        path = f"{path}.{member[1]}" if path else member[1]
    return ValidationFailed(path or whole, _reason(text[: at.start()] if at else text, request, inside))


def _reason(text: str, request: type[msgspec.Struct], path: str) -> str:
    """A sentence for what msgspec says of the value at this path."""
    if text.startswith("Object contains unknown"):
        return f"there is no such field; there are {_listed(_fields(_declared(request, path)))}"
    if text.startswith("Object missing"):
        return "it is required"
    if text.startswith("Invalid enum"):
        return f"{text.removeprefix('Invalid enum value ')} is not one of {_listed(_words(_declared(request, path)))}"
    if "matching regex" in text:
        parts = "a role and a label with a colon between them, each of" if "}:[" in text else "an identifier of"
        return f"it must be {parts} 1 to 64 characters of A-Z, a-z, 0-9, underscore, dot and hyphen"
    return text[:1].lower() + text[1:].replace("`", "")


def _listed(names: Iterable[object]) -> str:
    return ", ".join(map(str, names)) or "none"


def _declared(kind: Any, path: str) -> Any:
    """The type of the value at this path, which leads through structs; unions and lists count as what they hold."""
    for name in filter(None, path.split(".")):
        fields = {field.encode_name: field.type for part in _parts(kind) for field in _struct_fields(part)}
        if name not in fields:
            return kind
        kind = fields[name]
    return kind


def _parts(kind: Any) -> list[Any]:
    """A type and all that it consists of."""
    return [kind, *(part for each in get_args(kind) for part in _parts(each))]


def _struct_fields(kind: Any) -> Sequence[msgspec.structs.FieldInfo]:
    return msgspec.structs.fields(kind) if isinstance(kind, type) and issubclass(kind, msgspec.Struct) else ()


def _fields(kind: Any) -> list[str]:
    return [field.encode_name for part in _parts(kind) for field in _struct_fields(part)]


def _words(kind: Any) -> list[object]:
    """The words that a value of this type may be, or a list in it may hold."""
    words = [word for part in _parts(kind) if get_origin(part) is Literal for word in get_args(part)]
    return list(dict.fromkeys(words))
