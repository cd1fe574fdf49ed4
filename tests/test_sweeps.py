"""From Hydra's grammar to a plan: factors, levels, seeds, cells, and what is said when they are wrong."""

from pathlib import Path

import pytest
from hydra import initialize_config_dir
from hydra.core.global_hydra import GlobalHydra
from hydra.types import RunMode

import ablate as ab
from ablate.errors import PlanError
from ablate.factors import Cell
from ablate.sweeps import conf_dir, read_study

FOREIGN = Path(__file__).parent / "foreign" / "conf"


def task(cfg):
    return 0.0


def read(*arguments, settings=(), conf=FOREIGN):
    """The study that `app.py -m hydra/sweeper=ablate <arguments>` declares."""
    overrides = ["hydra/sweeper=ablate", *[f"++hydra.sweeper.{s}" for s in settings], *arguments]
    with initialize_config_dir(str(conf), version_base="1.3"):
        loader = GlobalHydra.instance().config_loader()
        config = loader.load_configuration("app", overrides, run_mode=RunMode.MULTIRUN)
        return read_study(config, list(arguments), loader, task)


def test_commas_are_factors_and_everything_else_is_fixed():
    study = read("model=shallow,deep", "lr=0.1,0.2", "mapping=true")
    assert [(f.key, f.levels) for f in study.plan.factors] == [("model", ("shallow", "deep")), ("lr", (0.1, 0.2))]
    assert study.plan.cells[0] == Cell({"model": "shallow", "lr": 0.1})
    assert study.overrides[study.plan.cells[3]] == ["mapping=true", "model=deep", "lr=0.2"]
    assert all(config.mapping is True for config in study.configs.values())
    assert study.folder == Path("multirun") / f"app-{study.plan.hash[:8]}"


@pytest.mark.parametrize(
    ("words", "levels"),
    [
        ("lr=0.1,0.2", (0.1, 0.2)),
        ("lr=choice(0.2,0.1)", (0.2, 0.1)),
        ("lr=range(1,4)", (1, 2, 3)),
        ("model=glob([s*,d*])", ("deep", "shallow")),
        ("mapping=false,true", (False, True)),
        ("+note=null,'a b','c,d'", (None, "a b", "c,d")),
        ("+note='it\\'s','quo\"te'", ("it's", 'quo"te')),
    ],
)
def test_hydras_grammar_gives_the_levels(words, levels):
    study = read(words)
    assert study.plan.factors[0].levels == levels
    for cell, config in study.configs.items():
        key = study.plan.factors[0].key
        assert (config.model.name if key == "model" else config[key]) == cell[key]


def test_levels_that_are_equal_and_print_differently_keep_their_own_override():
    study = read("+x=1,true,1.0,0,false")
    assert [repr(config.x) for config in study.configs.values()] == ["1", "True", "1.0", "0", "False"]


def test_params_declare_what_the_command_line_can_change():
    params = ["params={model: 'shallow,deep', lr: '0.1,0.2'}"]
    study = read(settings=params)
    assert [f.key for f in study.plan.factors] == ["model", "lr"]
    study = read("lr=0.3,0.4", settings=params)
    assert study.plan.factors[1].levels == (0.3, 0.4)
    with pytest.raises(PlanError, match="fixes 'lr', which is a factor"):
        read("lr=0.3", settings=params)
    with pytest.raises(PlanError, match=r"(?s)'1,2,' cannot be read.*hydra\.sweeper\.params\.lr"):
        read(settings=["params={lr: '1,2,'}"])


def test_seeds_may_be_typed_like_levels():
    assert read("model=shallow,deep", "seed=3,1,2").plan.seeds == (3, 1, 2)
    assert read("model=shallow,deep", settings=["seeds=[7,8]"]).plan.seeds == (7, 8)
    one = read("model=shallow,deep", "seed=5")
    assert one.plan.seeds == (5,)
    assert one.overrides[one.plan.cells[0]] == ["model=shallow"], "the trial's seed is the only one"
    added = read("model=shallow,deep", "+rng=3,4", settings=["seed_key=+rng"])
    assert (added.plan.seeds, [f.key for f in added.plan.factors]) == ((3, 4), ["model"])


@pytest.fixture
def conf(tmp_path):
    """Somebody's less ordinary config: groups under packages, a nested seed, values that JSON does not know."""
    for option, port in (("a", 1), ("b", 2)):
        (tmp_path / "db").mkdir(exist_ok=True)
        (tmp_path / "db" / f"{option}.yaml").write_text(f"port: {port}")
    (tmp_path / "app.yaml").write_text(
        "defaults: [{db@source: a}, {db@sink: a}, _self_]\n"
        "train: {seed: 0, lr: '???'}\nclip: .inf\nfill: .nan\ncodes: {10: x, 2: y}\nsame: ${train}\n"
    )
    return tmp_path


def test_one_group_in_two_packages_is_two_factors(conf):
    study = read("db@source=a,b", "db@sink=a,b", settings=["seed_key=train.seed"], conf=conf)
    assert [f.key for f in study.plan.factors] == ["db@source", "db@sink"]
    found = [(config.source.port, config.sink.port) for config in study.configs.values()]
    assert found == [(1, 1), (1, 2), (2, 1), (2, 2)]


def test_a_value_that_is_still_missing_can_be_a_factor_and_any_value_can_be_locked(conf, tmp_path):
    made = read("train.lr=0.1,0.2", settings=["seed_key=train.seed"], conf=conf).plan
    made.write(tmp_path)
    locked = ab.Plan.read(tmp_path)
    assert (locked.hash, locked.trials) == (made.hash, made.trials)
    assert (locked.config["clip"], locked.config["fill"]) == ("inf", "nan")
    assert locked.config["codes"] == {"10": "x", "2": "y"}


def test_a_seed_that_nothing_would_read_is_refused(conf):
    with pytest.raises(PlanError, match=r"(?s)no key 'seed' to take the seed.*allowed: train\.seed"):
        read("train.lr=0.1,0.2", conf=conf)


def test_the_plan_carries_the_config_and_each_cells_changes():
    study = read("model=shallow,deep", "lr=0.1,0.2")
    assert study.plan.config == {
        "lr": 0.1,
        "kill": False,
        "fail": False,
        "mapping": False,
        "pause": 0,
        "model": {"name": "shallow", "depth": 2},
    }
    changes = dict(zip(study.plan.cells, study.plan.changes, strict=True))
    assert changes[Cell({"model": "shallow", "lr": 0.1})] == {}
    assert changes[Cell({"model": "deep", "lr": 0.1})] == {
        "model.name": "deep",
        "model.depth": 8,
        "model.width": "${oc.env:NO_SUCH_WIDTH,4}",
    }


def test_a_trial_keeps_its_id_when_another_level_is_added():
    few, many = read("lr=0.1,0.2").plan, read("lr=0.1,0.2,0.3").plan
    assert {t.id for t in few.trials} < {t.id for t in many.trials}


@pytest.mark.parametrize(
    ("words", "message"),
    [
        ("modle=shallow,deep", "(?s)unknown factor 'modle'.*did you mean 'model'"),
        ("model=shallow,dep", "(?s)'dep' is not a level.*allowed: broken, deep, shallow.*did you mean 'deep'"),
        ("model=shallow,deep,typo,shallow2", "'typo' is not a level"),
        ("seed=interval(0,1)", "a range of values, no list of levels"),
        ("model=shallow,deep lr=interval(0,1)", "(?s)nothing says how a tuning trial is validated.*val_value: 0.9"),
        ("lr=0.1,0.1", "duplicate levels"),
        ("lr=0.1", "at least one factor"),
        ("lr=shuffle(0.1,0.2,0.3)", "gives another order each time"),
        ("model=1,2", "(?s)1 is a number, no option.*quote it"),
        ("model.dept=1,2", "(?s)unknown factor.*allowed: model.name, model.depth.*did you mean 'model.depth'"),
        ("lr=0.1,0.2 seed=a,b", r"seeds are \('a', 'b'\)"),
        ("+lr=1,2", "(?s)config of cell lr=1 does not compose.*already at 'lr'"),
        ("model.depth=2,deep2", None),
    ],
)
def test_wrong_words_are_named_before_anything_is_composed_or_run(words, message):
    if message is None:  # a value that Hydra accepts as text: nothing wrong with it
        assert len(read(words).plan.cells) == 2
        return
    with pytest.raises(PlanError, match=message):
        read(*words.split())


@pytest.mark.parametrize(
    ("setting", "message"),
    [
        ("seeds=0", "no seeds"),
        ("seeds=[1,1]", "a seed occurs twice"),
        ("baseline={lr: 0.7}", "0.7 is not a level"),
        ("baseline={rate: 0.1}", "unknown factor 'rate'"),
        ("design=full", "(?s)unknown design 'full'.*full_factorial"),
        ("analysis={target: everywhere}", "(?s)unknown .*'everywhere'.*these_domains"),
        ("analysis={aplha: 0.1}", "did you mean 'alpha'"),
        ("margin=-1", "a margin of -1"),
        ("exclude=[{lr: 0.9}]", "0.9 is not a level"),
    ],
)
def test_wrong_settings_are_named(setting, message):
    with pytest.raises(PlanError, match=message):
        read("lr=0.1,0.2", settings=[setting])


def test_a_cell_that_does_not_compose_is_named():
    with pytest.raises(PlanError, match=r"(?s)config of cell lr=0\.1 model=broken does not compose.*nothing was run"):
        read("lr=0.1,0.2", "model=shallow,deep,broken")


def test_conf_is_found_in_a_checkout():
    assert (conf_dir() / "config.yaml").is_file()
