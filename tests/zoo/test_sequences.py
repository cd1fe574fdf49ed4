"""Nets that write sequences see no future and no padding; what they log is what greedy decoding would score."""

import math

import pytest
import torch
from hydra import compose, initialize_config_dir
from omegaconf import DictConfig, OmegaConf
from torch import nn

from ablate.errors import TrialError
from ablate.sweeps import conf_dir
from ablate.training.costs import count_parameters
from ablate.zoo.scan import ACTIONS, PAD, WORDS, encode_commands
from ablate.zoo.sequences import Attention, Embedding, Recurrent, Transformer, Translator, make_waves, shift_rows

CONF = conf_dir()
OPTIONS = [f"{f.parts[-3]}=scan/{f.stem}" for f in sorted(CONF.glob("*/scan/*.yaml"))]
NETS = {
    "absolute": lambda: Transformer(16, 2, 2, len(WORDS), len(ACTIONS)),
    "relative": lambda: Transformer(16, 2, 2, len(WORDS), len(ACTIONS), positions="relative"),
    "recurrent": lambda: Recurrent(16, 2, len(WORDS), len(ACTIONS)),
}


@pytest.fixture(params=NETS)
def module(request):
    torch.manual_seed(0)
    return Translator(NETS[request.param](), nn.CrossEntropyLoss(), 0.01, len(ACTIONS)).eval()


def batch(rows: slice) -> tuple[torch.Tensor, torch.Tensor]:
    words, acts = (part[rows] for part in encode_commands())
    return words, acts[:, : int((acts != PAD).sum(1).max())]


def composed(*overrides: str) -> DictConfig:
    with initialize_config_dir(str(CONF), version_base="1.3"):
        return compose("scan", list(overrides))


def test_an_action_is_predicted_from_those_before_it(module):
    words, acts = batch(slice(200, 216))
    changed = acts.clone()
    changed[:, 5:] = acts[:, 5:].flip(0)
    with torch.no_grad():
        one, other = module.predict_next(words, acts), module.predict_next(words, changed)
    torch.testing.assert_close(one[:, :6], other[:, :6])
    assert not torch.allclose(one[:, 6:], other[:, 6:])


def test_padding_changes_nothing(module):
    words, acts = batch(slice(0, 34))  # single phrases
    short = words[:, : int((words != PAD).sum(1).max())]
    with torch.no_grad():
        torch.testing.assert_close(module.predict_next(words, acts), module.predict_next(short, acts))
        alone = module.predict_next(words[:1, :2], acts[:1, :3])
        torch.testing.assert_close(module.predict_next(words, acts)[:1, :3], alone)


def test_exact_match_is_that_of_greedy_decoding(module):
    """A net that knows some commands and not others: right by its own decoding, and by the true beginnings."""
    words, acts = batch(slice(0, 12))
    optimizer = torch.optim.Adam(module.parameters(), lr=0.01)
    for _ in range(15):
        optimizer.zero_grad()
        module.training_step((words, acts), 0).backward()
        optimizer.step()
    with torch.no_grad():
        written = module(words)
        likeliest = module.predict_next(words, acts).argmax(-1)
    width = max(written.shape[1], acts.shape[1])
    padded = [nn.functional.pad(part, (0, width - part.shape[1])) for part in (written, acts)]
    decoded = (padded[0] == padded[1]).all(1)
    assert torch.equal(decoded, ((likeliest == acts) | (acts == PAD)).all(1))
    assert 0 < decoded.sum() < len(words)
    module.exact_match.update(likeliest, acts)
    assert float(module.exact_match.compute()) == pytest.approx(float(decoded.float().mean()))


def test_decoding_ends_where_nothing_ends_it(module):
    with torch.no_grad():
        for parameter in (module.net.head.weight, module.net.head.bias):
            parameter.zero_()
        module.net.head.bias[3] = 1.0
        assert module(batch(slice(0, 2))[0]).tolist() == [[3] * 49] * 2


def test_waves_turn_with_the_position():
    """cos(a - b) = sin a sin b + cos a cos b: the product of two positions' waves depends on their distance alone."""
    waves = make_waves(torch.arange(20.0), 8)
    products = waves @ waves.T
    for distance in (1, 7):
        along = products.diagonal(distance)
        torch.testing.assert_close(along, along[:1].expand_as(along))
    assert make_waves(torch.arange(3.0), 8)[0].tolist() == [0.0, 1.0] * 4


@pytest.mark.parametrize(("queries", "keys"), [(1, 1), (1, 5), (4, 4), (3, 7)])
def test_rows_are_shifted_to_the_pairs_of_query_and_key(queries, keys):
    distances = torch.arange(keys - 1, -queries, -1).expand(2, queries, -1)
    rows = torch.arange(queries)[:, None] + keys - queries - torch.arange(keys)
    assert torch.equal(shift_rows(distances, keys), rows.expand(2, -1, -1))


def test_relative_attention_scores_content_and_distance():
    """Dai 2019, section 3.3, written out pair by pair."""
    torch.manual_seed(1)
    attention = Attention(8, 2, relative=True)
    nn.init.normal_(attention.content_bias)
    nn.init.normal_(attention.distance_bias)
    states, mask = torch.randn(1, 5, 8), torch.ones(5, 5, dtype=torch.bool).tril()[None, None]
    query, (key, value) = attention.query(states), attention.key_value(states).chunk(2, -1)
    found = torch.zeros(5, 8)
    for head, part in enumerate((slice(0, 4), slice(4, 8))):
        u, v = attention.content_bias[head, 0], attention.distance_bias[head, 0]
        for i in range(5):
            scores = []
            for j in range(i + 1):
                wave = attention.distance(make_waves(torch.tensor([float(i - j)]), 8))[0, part]
                scores.append(((query[0, i, part] + u) @ key[0, j, part] + (query[0, i, part] + v) @ wave) / 2)
            found[i, part] = torch.stack(scores).softmax(0) @ value[0, : i + 1, part]
    torch.testing.assert_close(attention(states, states, mask)[0], attention.out(found))
    last = attention(states[:, 3:], states, mask[:, :, 3:])
    torch.testing.assert_close(last, attention(states, states, mask)[:, 3:])


@pytest.mark.parametrize(
    ("scaling", "tokens", "positions"), [("none", 1, 1), ("up", 1, 1), ("down", math.sqrt(2 / 64), 1 / 8)]
)
def test_scaling_sets_what_tokens_and_positions_weigh(scaling, tokens, positions):
    """Standard deviation of the tokens' part, and the factor of the positions, of 64 tokens of width 64."""
    torch.manual_seed(0)
    embedding = Embedding(64, 64, "absolute", scaling)
    table = embedding.table.weight.detach() * (8 if scaling == "up" else 1)
    assert float(table.std()) == pytest.approx(tokens, rel=0.05)
    with torch.no_grad():
        mixed = embedding(torch.arange(64)[None])[0]
    torch.testing.assert_close(mixed - table, make_waves(torch.arange(64.0), 64) * positions)


def test_relative_positions_add_nothing_to_the_embedding():
    embedding = Embedding(5, 8, "relative", "none")
    words = torch.tensor([[1, 2, 1]])
    assert torch.equal(embedding(words), embedding.table(words))


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"positions": "relativ"}, "did you mean 'relative'"),
        ({"scaling": "downn"}, "did you mean 'down'"),
        ({"heads": 3}, "3 heads cannot share a width of 16 evenly"),
    ],
)
def test_what_cannot_be_is_refused(options, said):
    with pytest.raises(TrialError, match=said):
        Transformer(**{"width": 16, "depth": 1, "heads": 2, "words": 14, "actions": 8, **options})


# --- conf/ -----------------------------------------------------------------------------------------------------------


def test_every_option_composes():
    groups: dict[str, list[str]] = {}
    for option in OPTIONS:
        groups.setdefault(option.partition("=")[0], []).append(option)
    for place in range(max(map(len, groups.values()))):  # an option of every group at once: composing is slow
        config = composed(*(options[place % len(options)] for options in groups.values()))
        OmegaConf.resolve(config)
        assert not OmegaConf.missing_keys(config)


def test_models_know_as_many_words_and_actions_as_there_are():
    for file in (CONF / "model" / "scan").glob("*.yaml"):
        model = OmegaConf.load(file)
        assert (model.net.words, model.net.actions, model.actions) == (len(WORDS), len(ACTIONS), len(ACTIONS))


def test_sizes_follow_their_rule():
    counts = {}
    for name in ("tiny", "small", "large"):
        file = CONF / "size" / "scan" / f"{name}.yaml"
        size = OmegaConf.load(file)
        nets = (
            Transformer(size.width, size.depth, size.heads, len(WORDS), len(ACTIONS)),
            Recurrent(size.width, size.depth, len(WORDS), len(ACTIONS)),
        )
        counts[name] = [count_parameters(net) for net in nets]
        assert all(f"{count:,}" in file.read_text() for count in counts[name])
        assert size.learning_rate * size.width == pytest.approx(0.48, rel=1e-3)
        assert size.steps == round(3000 * (24 / size.width) ** 0.25)
    assert all(large > 30 * tiny for large, tiny in zip(counts["large"], counts["tiny"], strict=True))


@pytest.mark.slow
@pytest.mark.parametrize("override", [option for option in OPTIONS if option != "trainer=scan/gpu"])
def test_every_option_trains_a_step_and_is_tested_everywhere(override):
    from ablate.training import preflight

    config = composed(override)
    rows = preflight(config)
    assert {row["domain"] for row in rows} == {name for members in config.domains.values() for name in members}
    assert {row["metric"] for row in rows} == {"exact_match", "token_accuracy", "nll"}
