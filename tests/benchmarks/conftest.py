"""Fixtures of the tests of benchmarks."""

from pathlib import Path

import numpy as np
import pytest
from tiny import Survey

from galaxy.decision_tree import GALAXY_ZOO_2
from survey import images


@pytest.fixture
def tables(prepared_survey: Survey, tmp_path: Path) -> list[str]:
    """Write the classes of all galaxies, of two, and the mean votes of each; return flags that name the tables."""
    labels = images.load_labels()
    classes = np.where(labels[:, 0] > np.median(labels[:, 0]), "smooth", "featured")
    ids = images.load_ids("train")
    (tmp_path / "classes.csv").write_text(
        "\n".join(["GalaxyID,class", *(f"{i},{c}" for i, c in zip(ids, classes, strict=True))])
    )
    rows = [f"{c}," + ",".join(map(str, labels[classes == c].mean(axis=0))) for c in ("smooth", "featured")]
    (tmp_path / "means.csv").write_text("\n".join([",".join(["class", *GALAXY_ZOO_2.columns]), *rows]))
    return ["--classes", str(tmp_path / "classes.csv"), "--class-means", str(tmp_path / "means.csv")]
