"""Centring and rescaling: the reference arrays of 2014, the processors, and what is said of files that do not fit."""

import pickle
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from tiny import PARAMS, ROOT, Survey

import load_data
import realtime_augmentation as ra
from machine.arrays import save_array, save_gz
from machine.files import DataError
from survey import centering
from survey.centering import EXTRA_PARAMS, GEN2_PARAMS, PysexParams
from survey.chunk_workers import Workers
from survey.folders import use_folders

REFERENCE = np.load(ROOT / "tests" / "reference" / "augmentation.npz")
VIEWS = [ra.build_ds_transform(3.0, target_size=(69, 69))]
SIZES = [(69, 69)]
PLACEMENTS: dict[str, Callable] = {
    "PysexCentering": ra.build_pysex_center_transform,
    "PysexCenteringRescaling": ra.build_pysex_center_rescale_transform,
    "PysexGen1CenteringRescaling": centering.build_pysexgen1_center_rescale_transform,
}


def write_reference(survey: Survey) -> None:
    """Write the reference's 27 rows as the catalogues of the first training images, the last of them repeated."""
    rows = np.minimum(np.arange(30), 26)
    for catalogue, name in ((GEN2_PARAMS, "gen2"), (EXTRA_PARAMS, "gen1")):
        params = REFERENCE[f"centering.{name}_params"]
        save_gz(catalogue.path("train"), params[rows])
        save_gz(catalogue.path("test"), params[:8])


@pytest.fixture
def measured_survey(prepared_survey: Survey) -> Survey:
    write_reference(prepared_survey)
    return prepared_survey


@pytest.mark.usefixtures("measured_survey")
@pytest.mark.parametrize("subset", ["train", "test"])
@pytest.mark.parametrize(
    ("build", "name"),
    [
        (ra.build_pysex_center_transform, "center"),
        (ra.build_pysex_center_rescale_transform, "center_rescale"),
        (centering.build_pysexgen1_center_rescale_transform, "gen1_center_rescale"),
    ],
)
def test_transforms_are_the_reference(build: Callable, name: str, subset: str):
    for index in range(27 if subset == "train" else 8):
        expected = REFERENCE[f"centering.{name}"][index]
        np.testing.assert_allclose(build(index, subset).params, expected, rtol=0, atol=1e-9)


def test_the_galaxy_comes_to_the_centre_with_the_target_radius(measured_survey: Survey):
    rows = np.tile([230.0, 190.0, 20.0, 15.0, 30.0, 7.0], (30, 1))
    save_gz(GEN2_PARAMS.path("train"), rows)
    tform = ra.build_pysex_center_rescale_transform(0, target_radius=175.0)
    np.testing.assert_allclose(tform((211.5, 211.5)), [[230, 190]])
    # 140 pixels of the original are 175 of the output.
    np.testing.assert_allclose(tform((211.5 + 175, 211.5)), [[230 + 140, 190]])


@pytest.mark.parametrize(
    ("petro_radius", "a", "scale"), [(np.nan, np.nan, 1), (np.nan, 9, 1), (0, 9, 1.5), (1, 9, 1.5), (9, 90, 1 / 1.5)]
)
def test_the_scale_is_limited_and_what_is_not_measured_keeps_its_size(
    measured_survey: Survey, petro_radius: float, a: float, scale: float
):
    save_gz(GEN2_PARAMS.path("train"), np.tile([211.5, 211.5, a, a, 0, petro_radius], (30, 1)))
    assert ra.build_pysex_center_rescale_transform(4).params[0, 0] == pytest.approx(1 / scale)


@pytest.mark.usefixtures("measured_survey")
@pytest.mark.parametrize("placement", PLACEMENTS)
class TestProcessors:
    def test_place_the_galaxy_after_the_perturbation(self, placement: str):
        processor = getattr(ra, f"LoadAndProcess{placement}")(VIEWS, PARAMS, SIZES)
        tform = ra.random_perturbation_transform(**PARAMS, rng=np.random.default_rng(3)) + PLACEMENTS[placement](5)
        expected = ra.fast_warp(load_data.load_image(load_data.train_ids[5]), VIEWS[0] + tform, (69, 69))
        [view] = processor(5, np.random.default_rng(3))
        np.testing.assert_allclose(view, expected, rtol=0, atol=1e-6)

    @pytest.mark.parametrize("subset", ["train", "test"])
    def test_place_the_galaxy_under_fixed_transforms(self, placement: str, subset: str):
        transforms = ra.sixty_transforms()[:3]
        processor = getattr(ra, f"LoadAndProcessFixed{placement}")(subset, VIEWS, transforms, SIZES)
        ids = load_data.train_ids if subset == "train" else load_data.test_ids
        image = load_data.load_image(ids[2], subset)
        for [view], transform in zip(processor(2), transforms, strict=True):
            tform = VIEWS[0] + transform + PLACEMENTS[placement](2, subset)
            np.testing.assert_allclose(view, ra.fast_warp(image, tform, (69, 69)), rtol=0, atol=1e-6)

    def test_are_the_plain_ones_for_a_centred_galaxy(self, placement: str):
        for catalogue in (EXTRA_PARAMS, GEN2_PARAMS):
            rows = np.full((30, len(catalogue.columns)), np.nan)
            rows[:, :2] = 211.5
            save_gz(catalogue.path("train"), rows)
        views = getattr(ra, f"LoadAndProcess{placement}")(VIEWS, PARAMS, SIZES)(1, np.random.default_rng(0))
        plain = ra.LoadAndProcess(VIEWS, PARAMS, SIZES)(1, np.random.default_rng(0))
        np.testing.assert_array_equal(views, plain)


@pytest.mark.usefixtures("measured_survey")
def test_chunks_are_the_same_however_workers_start():
    def chunk(start_method: str) -> np.ndarray:
        gen = ra.realtime_augmented_data_gen(
            1,
            20,
            PARAMS,
            VIEWS,
            SIZES,
            ra.LoadAndProcessPysexCenteringRescaling,
            seed=5,
            workers=Workers(2, start_method),
        )
        [(arrays, _)] = gen
        return arrays[0]

    forked = chunk("fork")
    np.testing.assert_array_equal(chunk("spawn"), forked)
    plain = next(ra.realtime_augmented_data_gen(1, 20, PARAMS, VIEWS, SIZES, seed=5))[0][0]
    assert not np.array_equal(forked, plain)


@pytest.mark.usefixtures("prepared_survey")
@pytest.mark.parametrize("start_method", ["fork", "spawn"])
def test_a_missing_file_is_named_from_a_worker(start_method: str):
    gen = ra.realtime_augmented_data_gen(
        1, 4, PARAMS, VIEWS, SIZES, ra.LoadAndProcessPysexCentering, workers=Workers(1, start_method)
    )
    with pytest.raises(DataError, match=r"gen2_train.npy.gz is missing; run extract_pysex_params_gen2.py"):
        next(gen)


@pytest.mark.usefixtures("prepared_survey")
def test_gen1_models_read_the_file_named_extra():
    with pytest.raises(DataError, match=r"extra_test.npy.gz is missing; run extract_pysex_params_extra.py"):
        centering.build_pysexgen1_center_rescale_transform(0, "test")


@pytest.mark.usefixtures("measured_survey")
@pytest.mark.parametrize("catalogue", [GEN2_PARAMS, EXTRA_PARAMS], ids=["gen2", "gen1"])
def test_files_that_do_not_fit_are_refused(catalogue: PysexParams):
    columns = len(catalogue.columns)
    for rows in (np.zeros((29, columns)), np.zeros((30, columns - 1)), np.zeros(30), np.zeros((30, columns), int)):
        save_gz(catalogue.path("train"), rows)
        with pytest.raises(DataError, match=rf"expected floats \(30, {columns}\).*run {catalogue.script}"):
            catalogue.load("train")
    rows = np.ones((30, columns))
    rows[7, 1] = np.nan
    save_gz(catalogue.path("train"), rows)
    with pytest.raises(DataError, match="got none in row 7"):
        catalogue.load("train")


def test_other_folders_give_other_measurements(measured_survey: Survey, tmp_path: Path):
    first = ra.build_pysex_center_transform(0).params
    for subset, ids in (("train", measured_survey.train_ids), ("test", measured_survey.test_ids)):
        save_array(tmp_path / "other" / f"{subset}_ids.npy", ids)
    use_folders(measured_survey.root, tmp_path / "other")
    with pytest.raises(DataError, match="is missing"):
        ra.build_pysex_center_transform(0)
    save_gz(GEN2_PARAMS.path("train"), np.ones((30, 6)))
    assert ra.build_pysex_center_transform(0).params[0, 2] == 1 - 211.5
    use_folders(measured_survey.root)
    np.testing.assert_array_equal(ra.build_pysex_center_transform(0).params, first)


@pytest.mark.parametrize("placement", PLACEMENTS)
@pytest.mark.parametrize("prefix", ["LoadAndProcess", "LoadAndProcessFixed"])
def test_processors_travel_to_workers_without_their_measurements(placement: str, prefix: str):
    subset = ["test"] if "Fixed" in prefix else []
    processor = getattr(ra, prefix + placement)(*subset, VIEWS, PARAMS, SIZES)
    assert len(pickle.dumps(processor)) < 5000
