"""A stateful imitation of Amazon Connect's users, over HTTP on loopback.

- The SDK's own description of the service matches and validates each request, so the imitation
  refuses what Connect would refuse.
- It has Connect's limits, two requests a second of each operation and five at once, by a clock that
  the test moves.
- A user with a security profile that grants something may sign in. The session ends with the grant,
  because each page that is loaded checks it.
"""

import json
import re
import threading
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import parse_qsl, unquote, urlsplit

from botocore.model import OperationModel, ServiceModel
from botocore.session import get_session
from botocore.validate import ParamValidator

from tests.servers.over_http import Answering, listening

PER_SECOND, BURST = 2.0, 5


def new_id() -> str:
    return str(uuid.uuid4())


class Clock:
    """A clock that advances only by its own sleeps."""

    def __init__(self) -> None:
        self._now = 1000.0
        self._guard = threading.Lock()

    def now(self) -> float:
        with self._guard:
            return self._now

    def sleep(self, seconds: float) -> None:
        with self._guard:
            self._now += seconds


@dataclass(kw_only=True)
class User:
    id: str
    name: str
    security_profiles: list[str]
    routing_profile: str
    status: str = "available"
    changes: int = 0

    def described(self) -> dict[str, Any]:
        return {
            "Id": self.id,
            "Username": self.name,
            "SecurityProfileIds": self.security_profiles,
            "RoutingProfileId": self.routing_profile,
        }


class Refusal(Exception):
    """An answer that is one of Connect's errors."""

    def __init__(self, status: int, code: str) -> None:
        super().__init__(code)
        self.status, self.code = status, code


@dataclass(kw_only=True)
class ConnectInstance:
    """One instance, its users, and received requests."""

    url: str = ""
    id: str = field(default_factory=new_id)
    agent_profile: str = field(default_factory=new_id)
    no_access: str = field(default_factory=new_id)
    routing: str = field(default_factory=new_id)
    no_contacts: str = field(default_factory=new_id)
    offline: str = field(default_factory=new_id)
    clock: Clock = field(default_factory=Clock)
    users: dict[str, User] = field(default_factory=dict)
    asked: list[str] = field(default_factory=list)
    contacts: list[dict[str, Any]] = field(default_factory=list)
    page_size: int = 100
    lost_pages: frozenset[str] = frozenset()  # page tokens that fail with status 500
    is_throttling: bool = True
    permissions: dict[str, list[str]] = field(default_factory=dict)
    _levels: dict[str, tuple[float, float]] = field(default_factory=dict)
    _guard: threading.RLock = field(default_factory=threading.RLock)

    def add(self, name: str, *, is_enabled: bool = True) -> User:
        user = User(
            id=new_id(),
            name=name,
            security_profiles=[self.agent_profile if is_enabled else self.no_access],
            routing_profile=self.routing,
        )
        self.users[user.id] = user
        return user

    def by_name(self, name: str) -> User:
        return next(user for user in self.users.values() if user.name == name)

    def admits(self, name: str) -> bool:
        """Return whether the user may sign in, or load a page in a session."""
        profiles = self.by_name(name).security_profiles
        return any(self.permissions[profile] for profile in profiles)

    def count(self, operation: str) -> int:
        with self._guard:
            return self.asked.count(operation)

    def answer(self, operation: str, asked: dict[str, Any]) -> dict[str, Any]:
        """Answer as Connect does."""
        with self._guard:
            self.asked.append(operation)
            if self.is_throttling:
                self._throttle(operation)
            if asked["InstanceId"] != self.id:
                raise Refusal(404, "ResourceNotFoundException")
            if operation == "SearchUsers":
                return self._search(asked)
            if operation == "SearchContacts":
                return self._search_contacts(asked)
            if operation == "ListSecurityProfilePermissions":
                if asked["SecurityProfileId"] not in self.permissions:
                    raise Refusal(404, "ResourceNotFoundException")
                return {"Permissions": self.permissions[asked["SecurityProfileId"]]}
            user = self.users.get(asked["UserId"])
            if user is None:
                raise Refusal(404, "ResourceNotFoundException")
            match operation:
                case "DescribeUser":
                    return {"User": user.described()}
                case "UpdateUserSecurityProfiles":
                    self._know(asked["SecurityProfileIds"], self.permissions)
                    user.security_profiles = asked["SecurityProfileIds"]
                case "UpdateUserRoutingProfile":
                    self._know([asked["RoutingProfileId"]], [self.routing, self.no_contacts])
                    user.routing_profile = asked["RoutingProfileId"]
                case "PutUserStatus":
                    self._know([asked["AgentStatusId"]], [self.offline])
                    user.status = "offline"
                case _:
                    raise Refusal(400, "UnknownOperationException")
            user.changes += 1
            return {}

    def _know(self, ids: list[str], known: Any) -> None:
        if not all(one in known for one in ids):
            raise Refusal(400, "InvalidParameterException")

    def _search(self, asked: dict[str, Any]) -> dict[str, Any]:
        condition = asked["SearchCriteria"]["StringCondition"]
        assert condition["FieldName"] == "Username"
        assert condition["ComparisonType"] == "EXACT"
        found = [
            user.described()
            for user in self.users.values()
            if user.name.lower() == condition["Value"].lower()
        ]
        start = int(asked.get("NextToken", "0"))
        page = found[start : start + self.page_size]
        rest = start + self.page_size
        token = {"NextToken": str(rest)} if rest < len(found) else {}
        return {"Users": page, "ApproximateTotalCount": len(found), **token}

    def _search_contacts(self, asked: dict[str, Any]) -> dict[str, Any]:
        window, agents = asked["TimeRange"], asked.get("SearchCriteria", {}).get("AgentIds")
        found = [
            contact
            for contact in self.contacts
            if window["StartTime"] <= contact["InitiationTimestamp"] <= window["EndTime"]
            and (agents is None or contact["AgentInfo"]["Id"] in agents)
        ]
        if asked.get("NextToken") in self.lost_pages:
            raise Refusal(500, "InternalServiceException")
        start = int(asked.get("NextToken", "0"))
        rest = start + self.page_size
        token = {"NextToken": str(rest)} if rest < len(found) else {}
        return {"Contacts": found[start:rest], "TotalCount": len(found), **token}

    def _throttle(self, operation: str) -> None:
        now = self.clock.now()
        level, at = self._levels.get(operation, (float(BURST), now))
        level = min(float(BURST), level + (now - at) * PER_SECOND)
        if level < 1 - 1e-6:
            self._levels[operation] = (level, now)
            raise Refusal(429, "ThrottlingException")
        self._levels[operation] = (level - 1, now)


class _Description:
    """Connect's operations, as the SDK describes them."""

    def __init__(self) -> None:
        self._model: ServiceModel = get_session().get_service_model("connect")
        self._routes = [
            (operation.http["method"], self._pattern(operation.http["requestUri"]), operation)
            for operation in map(self._model.operation_model, self._model.operation_names)
        ]

    def read(self, method: str, target: str, body: bytes) -> tuple[str, dict[str, Any]]:
        """Match and validate a request; return the operation and its parameters."""
        parts = urlsplit(target)
        for of_method, pattern, operation in self._routes:
            match = pattern.fullmatch(parts.path)
            if of_method == method and match:
                uri = {key: unquote(value) for key, value in match.groupdict().items()}
                asked = self._parameters(operation, uri, dict(parse_qsl(parts.query)), body)
                report = ParamValidator().validate(asked, operation.input_shape)
                if report.has_errors():
                    raise Refusal(400, "InvalidRequestException")
                return operation.name, asked
        raise Refusal(404, "UnknownOperationException")

    @staticmethod
    def _pattern(uri: str) -> re.Pattern[str]:
        return re.compile(re.sub(r"\{(\w+)\}", r"(?P<\1>[^/]+)", uri))

    @staticmethod
    def _parameters(
        operation: OperationModel, uri: dict[str, str], query: dict[str, str], body: bytes
    ) -> dict[str, Any]:
        sent = json.loads(body) if body else {}
        asked: dict[str, Any] = {}
        for name, shape in operation.input_shape.members.items():
            place = shape.serialization.get("location", "body")
            key = shape.serialization.get("name", name)
            source = {"uri": uri, "querystring": query}.get(place, sent)
            if key in source:
                asked[name] = source.pop(key)
        if sent or query:
            # The operation does not accept these values.
            raise Refusal(400, "InvalidRequestException")
        return asked


@contextmanager
def running_amazon_connect() -> Iterator[ConnectInstance]:
    """Run an instance in a thread, on a free port."""
    instance = ConnectInstance()
    instance.permissions = {instance.agent_profile: ["BasicAgentAccess"], instance.no_access: []}
    description = _Description()

    class Handler(Answering):
        def _serve(self) -> None:
            body = self.body()
            try:
                if "AWS4-HMAC-SHA256" not in self.headers.get("Authorization", ""):
                    raise Refusal(403, "AccessDeniedException")
                operation, asked = description.read(self.command, self.path, body)
                self._reply(200, instance.answer(operation, asked), {})
            except Refusal as refusal:
                self._reply(
                    refusal.status, {"Message": "refused"}, {"x-amzn-ErrorType": refusal.code}
                )

        def _reply(self, status: int, body: object, headers: dict[str, str]) -> None:
            headers = {**headers, "Content-Type": "application/json"}
            self.answer(status, json.dumps(body).encode(), headers)

        do_GET = do_POST = do_PUT = do_DELETE = _serve

    with listening(Handler) as port:
        instance.url = f"http://127.0.0.1:{port}"
        yield instance
