"""Procedures as the configuration has them: its settings and secrets become options."""

from collections.abc import Mapping
from typing import TYPE_CHECKING

from standfast.adapters.procedures import Procedure
from standfast.adapters.procedures.parameters import Parameter, ParameterType
from standfast.config import Config, SecretReference
from standfast.records import Now
from standfast.secrets import Resolver

if TYPE_CHECKING:
    from standfast.adapters.procedures.http_request import Call
    from standfast.config.sections.procedures import (
        CallConfig,
        CommandConfig,
        ParameterConfig,
        RequestConfig,
    )


def build_procedure(config: Config, name: str, resolver: Resolver, clock: Now) -> Procedure:
    """Build `commands.NAME` or `requests.NAME`; SecretMissing when one of its secrets is."""
    section, _, inner = name.partition(".")
    if section == "commands":
        return _command(name, config.commands[inner], resolver)
    return _request(name, config.requests[inner], resolver, clock)


def _command(name: str, settings: "CommandConfig", resolver: Resolver) -> Procedure:
    from standfast.adapters.procedures.command import Command, CommandOptions

    return Command(
        name,
        CommandOptions(
            argv=settings.argv,
            parameters=_parameters(settings.parameters),
            observe=settings.observe,
            undo=settings.undo,
            user=settings.user,
            environment=settings.environment,
            secrets=_revealed(settings.secrets, resolver),
            succeeds_with=settings.succeeds_with,
            timeout_seconds=settings.timeout_seconds,
            workers=settings.workers,
            changes_nothing=settings.changes_nothing,
        ),
    )


def _request(name: str, settings: "RequestConfig", resolver: Resolver, clock: Now) -> Procedure:
    from standfast.adapters.procedures.http_request import Look, Request, RequestOptions

    look = settings.observe
    return Request(
        name,
        RequestOptions(
            call=_call(settings),
            parameters=_parameters(settings.parameters),
            observe=None
            if look is None
            else Look(
                url=look.url,
                is_in_effect_with=look.is_in_effect_with,
                is_not_with=look.is_not_with,
                field=look.field or "",
                value=look.value or "",
            ),
            undo=None if settings.undo is None else _call(settings.undo),
            headers=settings.headers,
            secrets=_revealed(settings.secrets, resolver),
            bearer=None if settings.bearer is None else resolver.resolve(settings.bearer).reveal(),
            idempotency_header=settings.idempotency_header,
            verify_tls=settings.verify_tls,
            ca_file=settings.ca_file,
            timeout_seconds=settings.timeout_seconds,
            workers=settings.workers,
            per_second=settings.per_second,
            changes_nothing=settings.changes_nothing,
        ),
        clock=clock,
    )


def _call(settings: "CallConfig") -> "Call":
    from standfast.adapters.procedures.http_request import Call

    return Call(
        method=settings.method,
        url=settings.url,
        body=settings.body,
        expected=settings.expected,
    )


def _parameters(declared: Mapping[str, "ParameterConfig"]) -> dict[str, Parameter]:
    return {
        name: Parameter(type=ParameterType(one.type), options=one.options)
        for name, one in declared.items()
    }


def _revealed(secrets: Mapping[str, SecretReference], resolver: Resolver) -> dict[str, str]:
    return {name: resolver.resolve(one).reveal() for name, one in secrets.items()}
