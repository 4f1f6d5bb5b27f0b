"""Shards of predictions: any number of them gives the same bytes, and a wrong set of them is refused by name."""

import dataclasses
import shutil

from machine.command_line import shard_of

import numpy as np
import pytest
import tiny
import torch
from tiny import TINY, write_analysis

import layers
from engine import part_sharing, prediction, record
from engine.prediction import Prediction
from engine.prediction_shards import PredictionStore, Shard, merge
from machine.arrays import load_gz, save_named
from machine.files import DataError
from survey import folders

PARTS = ("valid", "test")
# Three galaxies a chunk, under sixty transforms: the test galaxies come as 3, 3 and 2.
OPTIONS = dataclasses.replace(tiny.OPTIONS, chunk_size=180)


@pytest.fixture
def script(prepared_survey, run_main):
    """Return what runs the prediction script of an experiment that is trained."""
    write_analysis()

    class Script:
        __name__ = TINY.name

        @staticmethod
        def main() -> None:
            prediction.main(TINY)

    flags = ("--root", prepared_survey.root, "--device", "cpu", "--num-workers", 1, "--chunk-size", OPTIONS.chunk_size)
    return lambda *more: run_main(Script, *flags, *more)


def products() -> dict[str, np.ndarray]:
    return {part: load_gz(folders.current.augmented(part, "tiny")) for part in PARTS}


def shard_path(part: str, name: str):
    return folders.current.augmented(part, "tiny").with_name(f"tiny.{name}.npz")


@pytest.mark.parametrize("num_shards", [1, 3, 7])
def test_any_number_of_shards_gives_the_same_bytes(script, num_shards, capsys):
    script()
    whole = products()
    for part in PARTS:
        folders.current.augmented(part, "tiny").unlink()
    for shard_index in reversed(range(1, num_shards + 1)):  # in any order
        script("--shard", f"{shard_index}/{num_shards}")
    assert not any(folders.current.augmented(part, "tiny").exists() for part in PARTS)
    script("--merge-shards", num_shards)
    assert ", RMSE 0." in capsys.readouterr().out.splitlines()[-2]
    for part, rows in products().items():
        np.testing.assert_array_equal(rows, whole[part], strict=True)


def test_chunks_that_go_through_the_network_are_those_of_the_whole(script, monkeypatch):
    seen, predict = [], part_sharing.PartSharing.predict

    def counted(self, views, batch):
        seen.append(views[0].shape[0] // len(self.representatives))
        return predict(self, views, batch)

    monkeypatch.setattr(part_sharing.PartSharing, "predict", counted)
    script()
    whole, seen[:] = list(seen), []
    for number in (1, 2, 3):
        script("--shard", f"{number}/3")
    assert whole == [3, 3, 3, 2] and sorted(seen) == sorted(whole)


def test_shards_are_whole_chunks_that_adjoin():
    cuts = [Shard.cut(number, 7, "", 2500, 300) for number in range(1, 8)]
    assert [cut.first for cut in cuts[1:]] == [cut.stop for cut in cuts[:-1]]
    assert (cuts[0].first, cuts[-1].stop) == (0, 2500)
    assert all(cut.first % 300 == 0 for cut in cuts)
    assert max(cut.stop - cut.first for cut in cuts) <= 600


class TestWrongSets:
    @pytest.fixture
    def refusal(self, script):
        for number in (1, 2, 3):
            script("--shard", f"{number}/3")

        def refused(*flags: object) -> str:
            before = tiny.files_of(folders.current.predictions)
            with pytest.raises(SystemExit) as ended:
                script("--merge-shards", 3, *flags)
            assert tiny.files_of(folders.current.predictions) == before
            assert "\n" not in ended.value.code
            return ended.value.code

        return refused

    def test_missing(self, refusal):
        shard_path("test", "2of3").unlink()
        shard_path("valid", "3of3").unlink()
        assert refusal().endswith("valid/tiny.3of3.npz is missing; make it with --shard 3/3")

    def test_double(self, refusal):
        shutil.copy(shard_path("valid", "1of3"), shard_path("valid", "3of3"))
        assert "tiny.3of3.npz holds shard 1/3 again, expected 3/3; make it again" in refusal()

    def test_of_another_training(self, refusal):
        path = shard_path("valid", "2of3")
        found = dict(np.load(path))
        save_named(path, **(found | {"identity": np.array("0" * 64)}))
        assert "tiny.2of3.npz belongs to another training, other images or another precision" in refusal()

    def test_of_the_other_part(self, refusal):
        shutil.copy(shard_path("test", "1of3"), shard_path("valid", "1of3"))
        assert "tiny.1of3.npz belongs to another training, other images" in refusal()

    def test_of_another_chunk_size(self, refusal):
        assert "make and merge all shards with the same --chunk-size" in refusal("--chunk-size", 60)

    @pytest.mark.parametrize("damage", [b"", b"PK damaged", b"\x80\x04."])
    def test_damaged(self, refusal, damage):
        shard_path("valid", "2of3").write_bytes(damage)
        assert "tiny.2of3.npz is not a shard" in refusal()


def test_a_shard_that_is_stopped_goes_on_and_one_that_is_made_is_left_alone(script, monkeypatch, capsys):
    script("--shard", "1/1")
    expected = {part: shard_path(part, "1of1").read_bytes() for part in PARTS}
    shard_path("test", "1of1").unlink()
    monkeypatch.setattr(PredictionStore, "INTERVAL", 0.0)
    count, predict = 0, part_sharing.PartSharing.predict

    def stop_at_the_second(self, *args: object) -> np.ndarray:
        nonlocal count
        count += 1
        if count == 2:
            raise KeyboardInterrupt
        return predict(self, *args)

    with monkeypatch.context() as patch:
        patch.setattr(part_sharing.PartSharing, "predict", stop_at_the_second)
        with pytest.raises(SystemExit):
            script("--shard", "1/1")
    script("--shard", "1/1")
    out = capsys.readouterr().out
    assert "tiny.1of1.npz exists already" in out and "3 rows done" in out
    assert {part: shard_path(part, "1of1").read_bytes() for part in PARTS} == expected
    assert not list(shard_path("test", "1of1").parent.glob("*.partial*"))


def test_a_shard_of_an_earlier_training_is_made_again(script, capsys):
    script("--shard", "1/2")
    network = Prediction(TINY, OPTIONS).sharing.network
    with torch.no_grad():
        network.parameters[0].add_(0.5)
    values = layers.get_param_values(network.output_layer)
    record.save_analysis(folders.current.analysis("tiny"), {"param_values": values}, {})
    capsys.readouterr()
    script("--shard", "1/2")
    assert "exists already" not in capsys.readouterr().out


@pytest.mark.parametrize("text", ["0/3", "4/3", "3", "1/0", "-1/3", "1/3/5", "a/b", "¹/3"])
def test_what_is_no_shard_is_refused(text):
    with pytest.raises(Exception, match="expected I/N, such as 2/8"):
        shard_of(text)


def test_shards_of_no_galaxies_are_empty_and_do_not_hurt(tmp_path):
    shard = Shard.cut(1, 2, "x", 0, 5)
    product = tmp_path / "a.npy.gz"
    shard.save(product, np.empty((0, 37), np.float32))
    assert shard.is_made(product) and not dataclasses.replace(shard, identity="y").is_made(product)
    with pytest.raises(DataError, match="is missing"):
        merge(product, [shard, dataclasses.replace(shard, shard_index=2)])
