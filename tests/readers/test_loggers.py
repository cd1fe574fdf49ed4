import csv
import math

import pytest
import yaml

from ablate.errors import RecordsError
from ablate.readers.loggers import read_runs


def log(root, version, steps, hparams):
    """A run as CSVLogger writes it; `test_the_logger_writes_what_log_writes` compares."""
    folder = root / "lightning_logs" / f"version_{version}"
    folder.mkdir(parents=True)
    rows = [{**metrics, "step": step} for step, metrics in steps]
    with (folder / "metrics.csv").open("w", newline="") as file:
        writer = csv.DictWriter(file, sorted({key for row in rows for key in row}))
        writer.writeheader()
        writer.writerows(rows)
    (folder / "hparams.yaml").write_text(yaml.dump(hparams) if hparams else "{}\n")


@pytest.fixture(scope="module")
def runs(tmp_path_factory):
    root = tmp_path_factory.mktemp("runs")
    fit = [(s, {"epoch": s // 2, "train_loss": 1 / (s + 1), "val_acc": 0.5 + s / 100}) for s in range(4)]
    test = [(4, {"epoch": 2, "test_acc/dataloader_idx_0": 0.75, "test_acc/dataloader_idx_1": 0.1 + 0.2})]
    for version, loss in enumerate(["null", None]):
        hparams = {"optim": {"loss": loss, "lr": 1e-4}, "sizes": (1, 2), "seed": version, "value": 3}
        log(root, version, fit + test, hparams)
    return root / "lightning_logs"


def test_test_metrics_are_the_scores_and_dataloaders_are_domains(runs):
    reading = read_runs([runs])
    rows = reading.frame[["run", "domain", "metric", "value"]].values.tolist()
    assert rows == [
        [f"version_{version}", domain, "test_acc", value]
        for version in (0, 1)
        for domain, value in [("0", 0.75), ("1", 0.1 + 0.2)]
    ]
    assert reading.columns == {r: r for r in ("run", "status", "domain", "metric", "value")}
    assert reading.frame["optim.lr"].tolist() == [1e-4] * 4
    assert reading.frame["optim.loss"].tolist() == ["null"] * 4
    assert reading.frame["sizes"].tolist() == ["[1, 2]"] * 4
    assert reading.frame["hparams.value"].tolist() == [3] * 4
    assert reading.frame["seed"].tolist() == [0, 0, 1, 1]


def test_the_curve_is_there_when_asked_for(runs):
    reading = read_runs([runs], curve=True)
    frame = reading.frame[(reading.frame["run"] == "version_0") & (reading.frame["metric"] == "val_acc")]
    assert frame["step"].tolist() == [0, 1, 2, 3]
    assert frame["value"].tolist() == [0.5, 0.51, 0.52, 0.53]
    assert reading.columns["budget"] == "step"
    assert set(reading.frame["metric"]) == {"train_loss", "val_acc"}


def test_without_test_metrics_the_last_value_counts_even_where_it_diverged(tmp_path):
    log(tmp_path, 0, [(0, {"val_loss": 0.5}), (1, {"val_loss": 0.4}), (2, {"epoch": 1})], {})
    log(tmp_path, 1, [(0, {"val_loss": 0.3}), (1, {"val_loss": math.nan})], {"lr": 0.1})
    frame = read_runs([tmp_path]).frame
    assert frame["value"].tolist()[0] == 0.4
    assert math.isnan(frame["value"].tolist()[1])
    assert frame["status"].tolist() == ["complete", "complete"]


def test_runs_that_logged_nothing_stay_as_lost(tmp_path):
    log(tmp_path, 0, [(0, {"val_loss": 0.5})], {"lr": 1})
    for name, content in [("a", None), ("b", ""), ("c", "epoch,step\n")]:
        (tmp_path / name).mkdir()
        (tmp_path / name / "hparams.yaml").write_text("lr: 2\n")
        if content is not None:
            (tmp_path / name / "metrics.csv").write_text(content)
    reading = read_runs([tmp_path])
    assert reading.frame["run"].tolist() == ["a", "b", "c", "lightning_logs/version_0"]
    assert reading.frame["status"].tolist() == ["lost"] * 3 + ["complete"]
    assert reading.frame["lr"].tolist() == [2, 2, 2, 1]
    assert reading.frame["metric"].isna().tolist() == [True] * 3 + [False]
    assert "3 runs logged nothing" in " ".join(reading.notes)


def one_run(tmp_path, hparams):
    (tmp_path / "metrics.csv").write_text("epoch,step,val_acc\n0,1,0.5\n")
    (tmp_path / "hparams.yaml").write_text(hparams)
    return read_runs([tmp_path]).frame.iloc[0]


def test_objects_in_hyperparameters_are_never_built(tmp_path):
    proof = tmp_path / "proof"
    row = one_run(
        tmp_path,
        f"a: !!python/object/apply:os.mkdir [{proof}]\n"
        "b: !!python/name:torch.nn.ReLU ''\n"
        "c: !!python/object:argparse.Namespace {x: 1}\n"
        "d: &id001 [1, 2]\ne: *id001\n",
    )
    assert not proof.exists()
    assert row["b"] == "torch.nn.ReLU"
    assert row["c.x"] == 1
    assert row["d"] == row["e"] == "[1, 2]"


def laughs(levels):
    lines = ["a0: &a0 [x, x, x, x, x, x, x, x, x]"]
    lines += [f"a{i}: &a{i} [{', '.join([f'*a{i - 1}'] * 9)}]" for i in range(1, levels)]
    return "\n".join(lines)


@pytest.mark.parametrize(
    ("hparams", "what"),
    [
        (laughs(30), "hyperparameters"),
        ("a: &a [*a]", "not YAML"),
        ("a: [", "not YAML"),
        ("- 1\n", "not a mapping"),
        ("a: !evil 1\n", "not YAML"),
        ("a: " + "x" * (2 << 20), "1 MiB"),
    ],
)
def test_hostile_hyperparameters_are_refused(tmp_path, hparams, what):
    with pytest.raises(RecordsError, match=what):
        one_run(tmp_path, hparams)


def test_folders_without_runs_are_refused_and_links_are_not_followed(tmp_path):
    (tmp_path / "loop").symlink_to(tmp_path, target_is_directory=True)
    with pytest.raises(RecordsError, match=r"no metrics\.csv"):
        read_runs([tmp_path])
    with (tmp_path / "my_metrics.csv").open("w") as file:
        csv.writer(file).writerow(["a", "b"])
    with pytest.raises(RecordsError, match=r"no metrics\.csv"):
        read_runs([tmp_path])


def test_a_metric_that_is_no_number_is_named(tmp_path):
    (tmp_path / "metrics.csv").write_text("epoch,step,val_acc\n0,1,good\n")
    with pytest.raises(RecordsError, match="'good' is not a number") as error:
        read_runs([tmp_path])
    assert "metrics.csv" in str(error.value)


@pytest.mark.slow
def test_the_logger_writes_what_log_writes(tmp_path):
    from lightning.pytorch.loggers import CSVLogger

    steps = [(0, {"epoch": 0, "train_loss": 0.1 + 0.2}), (1, {"epoch": 0, "val_acc": math.nan, "train_loss": 1e-9})]
    hparams = {"optim": {"loss": None, "lr": 1e-4}, "sizes": (1, 2), "twice": [shared := [1], shared]}
    logger = CSVLogger(tmp_path / "real")
    logger.log_hyperparams(hparams)
    for step, metrics in steps:
        logger.log_metrics(metrics, step=step)
    logger.save()
    log(tmp_path / "ours", 0, steps, hparams)
    real, ours = (tmp_path / root / "lightning_logs" / "version_0" for root in ("real", "ours"))
    assert (real / "metrics.csv").read_bytes() == (ours / "metrics.csv").read_bytes()
    assert read_runs([tmp_path / "real"]).frame.equals(read_runs([tmp_path / "ours"]).frame)
