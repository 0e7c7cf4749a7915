"""What counts as one observation: a patient where patients are known, else a sample.

Images of one patient are alike. Taken for independent they would narrow intervals and make differences significant;
so tests compare patients' means, and resampling draws patients.
"""

from collections.abc import Sequence

import numpy as np
import pandas as pd
from numpy.typing import NDArray

Array = NDArray[np.float64]
Units = NDArray[np.intp]
"""(N,) 0, 1, …, each there: equal for samples of one unit."""


def units_of(samples: pd.DataFrame | None, names: pd.Index) -> Units:
    """The units of the samples of one task.

    Args:
        samples: What is known of them, by name, each once; patients are known where there is a column `patient`. A
            sample whose patient is not known is a unit of its own.
        names: (N,), the samples in question.
    """
    if samples is None or "patient" not in samples:
        return np.arange(len(names))
    return _numbered(samples.patient.reindex(names), [""] * len(names))


def units_over_tasks(samples: pd.DataFrame, names: pd.Index) -> Units | None:
    """The units of samples of several tasks, a patient one in each task; None: no patients are known.

    Args:
        samples: `record.Results.samples`.
        names: (N,), pairs of task and sample.
    """
    if "patient" not in samples:
        return None
    known = samples.drop_duplicates(["task", "sample"])
    index = pd.MultiIndex.from_arrays([known.task.astype(str), known["sample"].astype(str)])
    patients = pd.Series(known.patient.to_numpy(), index).reindex(names)
    return _numbered(patients, [str(task) for task, _ in names])


def _numbered(patients: "pd.Series[str]", tasks: Sequence[str]) -> Units:
    """No patient is called as a sample that is one of its own."""
    told = zip(tasks, patients.index, patients, patients.isna(), strict=True)
    labels = [f"{task}\0{name}\0" if alone else f"{task}\0{patient}" for task, name, patient, alone in told]
    return np.asarray(pd.factorize(np.array(labels, dtype=object))[0], dtype=np.intp)


def of_task(samples: pd.DataFrame, task: str) -> pd.DataFrame | None:
    """What is known of a task's samples, by name; None: nothing."""
    if "task" not in samples:
        return None
    known = samples[samples.task == task].drop_duplicates("sample")
    return known.set_index("sample") if len(known) else None


def n_patients(samples: pd.DataFrame | None, names: pd.Index) -> int | None:
    """How many patients the samples are of, one whose patient is not known counting as one; None: of none is known."""
    if samples is None or "patient" not in samples or samples.patient.reindex(names).isna().all():
        return None
    return int(units_of(samples, names).max()) + 1


def means_of_units(values: Array, units: Units | None) -> Array:
    """The means of values (…, N) over the samples of each unit (…, U); nan where a unit has none.

    None: every sample is a unit.
    """
    if units is None:
        return values
    defined = np.isfinite(values)
    n = sums_of(defined.astype(np.float64), units)
    return np.where(n > 0, sums_of(np.where(defined, values, 0), units) / np.where(n > 0, n, 1), np.nan)


def sums_of(values: Array, units: Units) -> Array:
    """Sums of values (…, N) over the samples of each unit: (…, U)."""
    order = np.argsort(units, kind="stable")
    starts = np.searchsorted(units[order], np.arange(units.max(initial=-1) + 1))
    return np.asarray(np.add.reduceat(values[..., order], starts, axis=-1)) if len(starts) else values
