"""The plateau of the mean votes: a run that is still on it after others have left it needs another seed.

A network first learns the mean votes, and predicts them for all galaxies, before it learns to tell galaxies apart. Some
seeds do not leave this plateau, or leave it late.

Source: doc/method.md, section 7, where the plateau is measured.
"""

import numpy as np

from survey.predictions import rmse

# Steps after which runs have left the plateau, by initialisation; weights from ImageNet leave it before.
STEPS = {"2014": 6250, "variance-preserving": 500, "random": 6250}
# A run has left the plateau if its validation RMSE is below this fraction of that of the mean votes.
LEFT = 0.97


def mean_votes_rmse(train_labels: np.ndarray, valid_labels: np.ndarray) -> float:
    """Return the RMSE of the mean votes of the training galaxies (n, answers) for validation galaxies (m, answers)."""
    return rmse(train_labels.mean(axis=0), valid_labels)


def describe_plateau(
    initialisation: str, steps_a_chunk: int, losses_valid: dict[int, float], mean_votes: float
) -> str | None:
    """Return a line if the run is on the plateau at its first validation after STEPS, else None.

    `losses_valid` are the validation RMSE after numbers of chunks; `mean_votes` is the RMSE of the mean votes.
    """
    late = [chunk for chunk in losses_valid if chunk * steps_a_chunk >= STEPS[initialisation]]
    if len(late) != 1 or losses_valid[late[0]] < LEFT * mean_votes:
        return None
    return (
        f"still at the error of the mean votes (validation RMSE {mean_votes:.6f}) after {late[0] * steps_a_chunk} "
        f"steps, when other seeds have left it; start anew with --seed N --no-resume"
    )
