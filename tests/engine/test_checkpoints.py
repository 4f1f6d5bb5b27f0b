"""A run that is stopped or killed goes on to the very same result."""

import dataclasses
import json
import resource
import signal
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from tiny import (
    CPU,
    OPTIONS,
    RULES,
    SIX_CHUNKS,
    STEPS_A_CHUNK,
    TINY,
    assert_same_result,
    interrupt_after,
    is_killed_at,
    run,
    status_of_fork,
)

import layers
from engine import prediction, training
from engine.checkpoints import Progress, Store
from engine.experiment import Cosine, Experiment, Steps
from engine.network import Network
from engine.optimizers import Nesterov
from engine.steps import Trainer
from machine.files import DataError
from survey import folders
from update_rules import set_rate


@pytest.mark.parametrize(
    ("steps", "number"),
    [
        (1, signal.SIGINT),
        (2, signal.SIGTERM),
        (STEPS_A_CHUNK, signal.SIGINT),
        (STEPS_A_CHUNK + 1, signal.SIGTERM),
        (3 * STEPS_A_CHUNK, signal.SIGINT),
        (5 * STEPS_A_CHUNK + 2, signal.SIGTERM),
        (6 * STEPS_A_CHUNK, signal.SIGUSR1),
    ],
)
def test_a_stopped_run_goes_on_to_the_same_result(prepared_survey, run_main, monkeypatch, capsys, steps, number):
    whole = run(run_main, prepared_survey, experiment=SIX_CHUNKS)
    folders.current.analysis("tiny").unlink()
    with monkeypatch.context() as patch:
        interrupt_after(patch, steps, number)
        with pytest.raises(SystemExit) as stop:
            run(run_main, prepared_survey, experiment=SIX_CHUNKS)
    assert stop.value.code == 75
    assert "run the same command again to resume from" in capsys.readouterr().out
    assert not folders.current.analysis("tiny").exists()
    assert_same_result(run(run_main, prepared_survey, experiment=SIX_CHUNKS), whole)
    assert "resuming from" in capsys.readouterr().out
    assert not list(folders.current.checkpoints("tiny").parent.rglob("*.pt"))


@pytest.mark.parametrize("num_bytes", [2_000, 20_000])  # in what Python writes, in what torch does
def test_a_disk_that_is_full_is_told_in_one_line_and_the_last_checkpoint_stays(tmp_path, num_bytes):
    earlier = Store(tmp_path, {}).path(Progress())
    earlier.write_bytes(b"earlier")
    trainer, store = Trainer(TINY, Network(TINY, CPU)), Store(tmp_path, {})

    def save() -> None:
        resource.setrlimit(resource.RLIMIT_FSIZE, (num_bytes,) * 2)
        with pytest.raises(DataError, match=r"cannot be written \(File too large\); an earlier file there"):
            store.save(Progress(chunk=1), trainer.state_dict())

    assert status_of_fork(save) == 0
    assert list(tmp_path.iterdir()) == [earlier]


@dataclasses.dataclass(frozen=True)
class Shifted:
    """Galaxies that lie elsewhere."""

    name: str = "shifted"
    pixels = 0.0

    def matrices(self, indices: np.ndarray, subset: str) -> np.ndarray:
        return np.broadcast_to(np.array([[1, 0, self.pixels], [0, 1, 0], [0, 0, 1]]), (len(indices), 3, 3))


def test_a_run_whose_catalogue_changed_does_not_go_on(prepared_survey, run_main, monkeypatch):
    experiment = dataclasses.replace(SIX_CHUNKS, views=dataclasses.replace(TINY.views, placement=Shifted()))
    indices = np.arange(4)
    before = prediction.identity(experiment, Network(experiment, CPU), indices, "test")
    with monkeypatch.context() as patch:
        interrupt_after(patch, STEPS_A_CHUNK, signal.SIGINT)
        with pytest.raises(SystemExit):
            run(run_main, prepared_survey, experiment=experiment)
    monkeypatch.setattr(Shifted, "pixels", 1.0)
    with pytest.raises(SystemExit, match="differs in places"):
        run(run_main, prepared_survey, experiment=experiment)
    assert prediction.identity(experiment, Network(experiment, CPU), indices, "test") != before


def test_another_number_of_threads_is_told(prepared_survey, run_main, monkeypatch, capsys):
    with monkeypatch.context() as patch:
        interrupt_after(patch, STEPS_A_CHUNK, signal.SIGINT)
        with pytest.raises(SystemExit):
            run(run_main, prepared_survey, experiment=SIX_CHUNKS)
    monkeypatch.setenv("OMP_NUM_THREADS", "any")  # chosen by a person, whatever the processors are
    threads = torch.get_num_threads()
    torch.set_num_threads(threads + 1)
    try:
        run(run_main, prepared_survey, experiment=SIX_CHUNKS)
    finally:
        torch.set_num_threads(threads)
    assert f"threads: {threads} before, {threads + 1} from now on" in capsys.readouterr().out
    assert json.loads(folders.current.analysis("tiny").with_suffix(".json").read_text())["threads"] == threads + 1


@pytest.mark.skipif(sys.platform != "linux", reason="reads /proc")
def test_a_killed_run_goes_on_to_the_same_result_and_leaves_no_worker(prepared_survey, run_main, one_thread):
    script = prepared_survey.root / "six_chunks.py"
    script.write_text("import tiny\nfrom engine import training\ntraining.main(tiny.SIX_CHUNKS)\n")
    whole = run(run_main, prepared_survey, experiment=SIX_CHUNKS)
    folders.current.analysis("tiny").unlink()
    assert is_killed_at("chunk 3/6", script)
    assert len(list(folders.current.checkpoints("tiny").glob("*.pt"))) == 2
    assert_same_result(run(run_main, prepared_survey, experiment=SIX_CHUNKS), whole)


def test_no_resume_starts_anew(prepared_survey, run_main, monkeypatch, capsys):
    with monkeypatch.context() as patch:
        interrupt_after(patch, 4, signal.SIGINT)
        with pytest.raises(SystemExit):
            run(run_main, prepared_survey, experiment=SIX_CHUNKS)
    with pytest.raises(SystemExit, match=r"differs in seed: 0, now 5; run with --no-resume"):
        run(run_main, prepared_survey, "--seed", 5, experiment=SIX_CHUNKS)
    capsys.readouterr()
    analysis = run(run_main, prepared_survey, "--seed", 5, "--no-resume", experiment=SIX_CHUNKS)
    assert "resuming" not in capsys.readouterr().out
    assert len(analysis["losses_train"]) == 6


def test_a_run_resumes_from_the_errors_of_an_unfinished_chunk(prepared_survey, run_main):
    """The validation can fail after all steps of a chunk."""
    whole = run(run_main, prepared_survey, experiment=SIX_CHUNKS)
    folders.current.analysis("tiny").unlink()
    valid = prepared_survey.raw / "images_train_rev1" / f"{prepared_survey.train_ids[-1]}.jpg"
    content = valid.read_bytes()

    def damage(progress: Progress) -> None:
        if progress.chunk == 3:
            valid.write_bytes(b"not a JPEG")

    with pytest.raises(DataError, match=valid.name):
        training.train(SIX_CHUNKS, OPTIONS, on_chunk=damage)
    valid.write_bytes(content)
    [path] = folders.current.checkpoints("tiny").glob("*.pt")
    assert path.name == f"000003-{STEPS_A_CHUNK:06d}.pt"
    assert_same_result(run(run_main, prepared_survey, experiment=SIX_CHUNKS), whole)


SCHEDULES = {"steps": lambda rate: Steps({0: rate, 2: rate / 10}), "cosine": lambda rate: Cosine(rate, warm_up=0.3)}


@pytest.mark.parametrize("schedule", SCHEDULES)
@pytest.mark.parametrize("rule", RULES)
class TestEveryRule:
    """All documented update rules, and AdamW, train while the rate changes, and go on where they were."""

    def experiment(self, rule: str, schedule: str) -> Experiment:
        make_optimizer, rate = RULES[rule]
        return dataclasses.replace(
            TINY,
            num_chunks=4,
            make_optimizer=make_optimizer,
            learning_rate=SCHEDULES[schedule](rate),
            weight_average=0.8,
            validate_every=4,
        )

    def test_trains_at_a_rate_that_changes_and_resumes(self, prepared_survey, run_main, monkeypatch, rule, schedule):
        experiment = self.experiment(rule, schedule)
        analysis = run(run_main, prepared_survey, experiment=experiment)
        folders.current.analysis("tiny").unlink()
        with monkeypatch.context() as patch:
            interrupt_after(patch, 3 * STEPS_A_CHUNK - 1, signal.SIGTERM)
            with pytest.raises(SystemExit):
                run(run_main, prepared_survey, experiment=experiment)
        assert_same_result(run(run_main, prepared_survey, experiment=experiment), analysis)
        assert np.isfinite(analysis["losses_train"]).all()
        torch.manual_seed(experiment.seed)
        network = Network(experiment, CPU)
        layers.reset_all_params(network.output_layer)
        start = layers.get_param_values(network.output_layer)
        for value, before in zip(analysis["param_values"], start, strict=True):
            assert not np.array_equal(value, before)

    def test_takes_each_step_at_its_rate(self, rule, schedule):
        experiment = self.experiment(rule, schedule)
        trainer, rates = Trainer(experiment, Network(experiment, CPU)), []
        layers.reset_all_params(trainer.network.output_layer)
        steps = [(chunk, step) for chunk in range(4) for step in range(STEPS_A_CHUNK)]
        for chunk, step in steps:
            train_a_step(trainer, chunk, step)
            rates.append(trainer.step.optimizer.param_groups[0]["lr"])
        assert rates == [experiment.learning_rate.at(chunk + step / STEPS_A_CHUNK, 4) for chunk, step in steps]
        assert len(set(rates)) == {"steps": 2, "cosine": 12}[schedule]


def train_a_step(trainer: Trainer, chunk: int = 2, step: int = 0) -> None:
    rng = np.random.default_rng(0)
    views = [torch.from_numpy(rng.random((8, 15, 15, 3), dtype=np.float32)) for _ in range(2)]
    trainer.take(views, torch.from_numpy(rng.random((8, 37), dtype=np.float32)), chunk, step)


def resume(trainer: Trainer, store: Store) -> None:
    _, state = store.restore()
    trainer.load_state_dict(state)


class TestStore:
    def build(self, folder: Path, experiment: Experiment = TINY, **identity: object) -> tuple[Store, Trainer]:
        torch.manual_seed(0)
        trainer = Trainer(experiment, Network(experiment, CPU))
        return Store(folder, {"name": "tiny", "momentum": 0.9, **identity}), trainer

    def test_keeps_the_last_two(self, tmp_path):
        store, trainer = self.build(tmp_path)
        for chunk in (9, 10, 100):
            store.save(Progress(chunk=chunk), trainer.state_dict())
        assert [path.name for path in store.paths()] == ["000010-000000.pt", "000100-000000.pt"]
        progress, _ = store.restore()
        assert progress.chunk == 100

    def test_names_what_differs(self, tmp_path):
        store, trainer = self.build(tmp_path)
        store.save(Progress(chunk=1), trainer.state_dict())
        other, _ = self.build(tmp_path, momentum=0.8, extra=1)
        with pytest.raises(DataError, match=r"differs in momentum: 0.9, now 0.8, extra: nothing, now 1; .*--no-resume"):
            other.restore()

    def test_names_three_of_many_differences_and_counts_the_rest(self, tmp_path):
        store, trainer = self.build(tmp_path)
        store.save(Progress(chunk=1), trainer.state_dict())
        other, _ = self.build(tmp_path, **{f"field {letter}": 1 for letter in "abcde"})
        with pytest.raises(DataError, match=r"field c: nothing, now 1, and 2 more; run with --no-resume"):
            other.restore()

    def test_a_damaged_checkpoint_is_named(self, tmp_path):
        store, trainer = self.build(tmp_path)
        path = store.save(Progress(chunk=1), trainer.state_dict())
        path.write_bytes(path.read_bytes()[:1000])
        with pytest.raises(DataError, match=f"{path.name} cannot be read"):
            store.restore()

    def test_a_checkpoint_of_another_layout_is_refused(self, tmp_path):
        store, trainer = self.build(tmp_path)
        path = store.save(Progress(chunk=1), trainer.state_dict())
        content = torch.load(path, weights_only=True)
        torch.save(content | content.pop("trainer"), path)
        with pytest.raises(DataError, match=f"{path.name} was written by another version.*--no-resume"):
            store.restore()

    def test_restores_the_random_generator(self, tmp_path):
        store, trainer = self.build(tmp_path)
        store.save(Progress(), trainer.state_dict())
        expected = torch.rand(3)
        store.restore()
        assert torch.equal(torch.rand(3), expected)

    def test_no_checkpoint_changes_nothing(self, tmp_path):
        store, _ = self.build(tmp_path)
        assert store.restore() == (Progress(), None)

    def test_restores_the_average_of_weights(self, tmp_path):
        averaging = dataclasses.replace(TINY, weight_average=0.9)
        store, trainer = self.build(tmp_path, averaging)
        for _ in range(3):
            train_a_step(trainer)
        store.save(Progress(chunk=2, errors=[0.1] * 3), trainer.state_dict())
        expected = [value.clone() for value in trainer.average.values]
        for value, param in zip(expected, trainer.network.parameters, strict=True):
            assert not torch.equal(value, param)
        _, again = self.build(tmp_path, averaging)
        resume(again, store)
        assert again.average.num_updates == 3
        assert all(map(torch.equal, again.average.values, expected))

    @pytest.mark.parametrize("rule", RULES)
    def test_what_is_another_device_s_is_not_taken_over(self, tmp_path, rule):
        """On an accelerator rates are tensors, and optimizers are made to be captured."""
        experiment = dataclasses.replace(TINY, make_optimizer=RULES[rule][0])
        store, trainer = self.build(tmp_path, experiment)
        train_a_step(trainer)
        for group in trainer.optimizer.param_groups:
            group["lr"] = torch.tensor(group["lr"])
            if "capturable" in group:
                group["capturable"] = True
        store.save(Progress(chunk=2, errors=[0.1]), trainer.state_dict())
        _, again = self.build(tmp_path, experiment)
        resume(again, store)
        for group in again.optimizer.param_groups:
            assert isinstance(group["lr"], float)
            assert not group.get("capturable")
        set_rate(again.optimizer, 0.01)
        train_a_step(again)

    def test_goes_on_with_a_rule_s_momentum(self, tmp_path):
        experiment = dataclasses.replace(TINY, make_optimizer=Nesterov(momentum=0.9, weight_decay=0.1))
        store, trainer = self.build(tmp_path, experiment)
        train_a_step(trainer)
        store.save(Progress(chunk=2, errors=[0.1]), trainer.state_dict())
        train_a_step(trainer)
        _, again = self.build(tmp_path, experiment)
        resume(again, store)
        train_a_step(again)
        for ours, theirs in zip(again.network.parameters, trainer.network.parameters, strict=True):
            assert torch.equal(ours, theirs)
