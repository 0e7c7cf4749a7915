"""Options that several commands share, said once: a parameter that is a dataclass becomes an option a field."""

import inspect
from collections.abc import Callable
from dataclasses import fields, is_dataclass
from functools import wraps
from inspect import Parameter
from typing import Any, get_type_hints

Command = Callable[..., None]


def unfolded(command: Command) -> Command:
    """The command as typer takes it: a parameter whose type is a dataclass stands for one option a field.

    The fields are annotated as parameters of commands are. What the command gives as the parameter's default (it has to
    give one) says the options' defaults, so that commands which share options may differ in these.
    """
    given = inspect.signature(command)
    kinds: dict[str, Any] = {name: parameter.annotation for name, parameter in given.parameters.items()}
    folded: dict[str, Any] = {name: kind for name, kind in kinds.items() if is_dataclass(kind)}

    @wraps(command)
    def called(**options: Any) -> None:
        for name, kind in folded.items():
            options[name] = kind(**{one.name: options.pop(one.name) for one in fields(kind)})
        command(**options)

    plain: list[Parameter] = []
    for name, parameter in given.parameters.items():
        if name in folded:
            plain += _options(folded[name], parameter.default)
        else:
            plain.append(parameter.replace(kind=Parameter.KEYWORD_ONLY))
    called.__dict__["__signature__"] = given.replace(parameters=plain)
    return called


def _options(kind: type[Any], usual: object) -> list[Parameter]:
    hints = get_type_hints(kind, include_extras=True)
    return [
        Parameter(one.name, Parameter.KEYWORD_ONLY, default=getattr(usual, one.name), annotation=hints[one.name])
        for one in fields(kind)
    ]
