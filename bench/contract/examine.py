"""Every check of one explainer on one network, and what came of them."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from traceback import extract_tb

from explainers.base import Explainer, InapplicableError

from ..errors import one_line
from .checks import checks_on
from .trial import Case, Trial


@dataclass(frozen=True)
class Outcome:
    """What was found of one explainer on one network."""

    inapplicable: str | None = None
    """Why the explainer has no answer here; nothing is checked then."""
    failures: Mapping[str, str] = field(default_factory=dict)
    """Check -> what is wrong, in one line."""


def examine(explainer: Explainer, case: Case) -> Outcome:
    """Make every check; where the explainer raises instead of a first answer, say so and make no other."""
    trial = Trial(explainer, case)
    try:
        reason = explainer.inapplicable(case.network())
        if reason is None:
            trial.maps  # noqa: B018  # some find only now that they do not apply
    except InapplicableError as error:
        reason = str(error)
    except Exception as error:  # noqa: BLE001  # an explainer is a plugin: it fails, and the line says why
        return Outcome(failures={"map": _told(error, explainer)})
    finally:
        case.forget_changed()
    return Outcome(reason) if reason is not None else Outcome(failures=_failures(trial))


def _failures(trial: Trial) -> dict[str, str]:
    failures = {}
    for name, check in checks_on(trial.case.device).items():
        try:
            complaint = check(trial)
        except Exception as error:  # noqa: BLE001  # as above
            complaint = _told(error, trial.explainer)
        finally:
            trial.case.forget_changed()
        if complaint is not None:
            failures[name] = complaint
    return failures


def _told(error: Exception, explainer: Explainer) -> str:
    """The exception in one line, and where in the explainer's own file it came from."""
    file = type(explainer).attribute.__code__.co_filename
    lines = [frame.lineno for frame in extract_tb(error.__traceback__) if frame.filename == file]
    return one_line(error) + (f" ({Path(file).name}, line {lines[-1]})" if lines else "")
