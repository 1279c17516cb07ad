"""Fine-tuning tiny models: what is trained, what is kept, what a killed or stopped run leaves."""

import json
import sys

import numpy as np
import pytest
import torch
from tiny_models import METHODS
from transformers import TrainerControl, TrainerState

from ragicl.backends.fake import FakeLM
from ragicl.backends.hf.training import batches, callbacks, trainer
from ragicl.backends.hf.training.api import answer_log_probs, hidden, tune
from ragicl.backends.hf.training.batches import IGNORED, Row, collate
from ragicl.backends.hf.training.methods import merged, prepare, trainable
from ragicl.backends.hf.training.trainer import DONE, TrainConfig, Tuner, held_out
from ragicl.errors import BackendError, MissingExtraError, TaskError
from ragicl.prompting.template import plain_template

TEMPLATE = plain_template("classify")
LABELS = ("weather", "music")
PAIRS = [
    (TEMPLATE.render(f"{word} {n}", []), TEMPLATE.answer(label))
    for word, label in (("rain", "weather"), ("song", "music"))
    for n in range(12)
]


@pytest.fixture(autouse=True)
def quick(monkeypatch):
    monkeypatch.setattr(trainer, "RATES", {"full": (1e-2,), "partial": (1e-2,), "lora": (3e-2,),
                                          "prompt-tuning": (0.3,)})  # fmt: skip
    monkeypatch.setattr(trainer, "EPOCHS", (4, 4))
    monkeypatch.setattr(trainer, "BATCHES", (32, 32))


def score(lm):
    prompts = [TEMPLATE.render(text, []) for text in ("rain 3", "song 5")]
    return lm.score(prompts, [TEMPLATE.answer(label) for label in LABELS])


@pytest.mark.parametrize("method", METHODS)
def test_training_makes_the_right_answers_likelier(tiny, tmp_path, method):
    lm = tiny("llama").lm
    before = score(lm)
    tuned = tune(lm, method, PAIRS, tmp_path)
    after = score(tuned.lm)
    assert (np.diag(after) > np.diag(before)).all()
    np.testing.assert_array_equal(score(lm), before, "the frozen model stays as it was")
    assert tuned.settings["complete"]
    assert tuned.seconds > 0
    assert tuned.lm.description.endswith(method)
    sizes = {"full": 1, "partial": 1, "lora": 0.5, "prompt-tuning": 0.2}
    whole = 4 * sum(p.numel() for p in lm.model().parameters())
    assert 0 < tuned.bytes < 1.2 * sizes[method] * whole + 10_000


@pytest.mark.parametrize("method", METHODS)
def test_only_what_a_method_names_is_trained(tiny, monkeypatch, method):
    monkeypatch.setattr("ragicl.backends.hf.training.methods.BLOCKS", 1)
    model = prepare(tiny("llama").model.__class__(tiny("llama").model.config), method, [5, 6])
    names = set(trainable(model, torch.bfloat16))
    everything = {name for name, _ in model.named_parameters()}
    if method == "full":
        assert names == everything
    elif method == "partial":
        assert {n.split(".")[2] for n in names if "layers" in n} == {"1"}
        assert "model.norm.weight" in names
        assert not any("embed" in n for n in names)
    else:
        marks = {"lora": "lora_", "prompt-tuning": "prompt_encoder"}
        assert names
        assert all(marks[method] in name for name in names)


def test_a_finished_training_is_read_not_done_again(tiny, tmp_path, monkeypatch):
    lm = tiny("llama").lm
    first = tune(lm, "lora", PAIRS, tmp_path)
    monkeypatch.setattr(
        batches.ChunkedTrainer, "train", lambda *_, **__: pytest.fail("trained again")
    )
    again = tune(lm, "lora", PAIRS, tmp_path)
    np.testing.assert_array_equal(score(again.lm), score(first.lm))
    assert (again.seconds, again.settings) == (first.seconds, first.settings)


def test_seeds_differ_and_share_the_search(tiny, tmp_path):
    lm = tiny("llama").lm
    first, second = (tune(lm, "lora", PAIRS, tmp_path, seed=seed) for seed in (0, 1))
    assert np.abs(score(first.lm) - score(second.lm)).max() > 1e-4
    assert first.settings["rate"] == second.settings["rate"]
    assert sorted(p.name for p in tmp_path.iterdir()) == ["rate-0", "seed-0", "seed-1"]


LEARNABLE = [Row((3 + n % 2, 5), (7 + n % 2, 8)) for n in range(40)]


def fresh(tiny):
    model = tiny("llama").model
    return model.__class__.from_pretrained(tiny("llama").folder, dtype=torch.float32)


ROWS = [Row(tuple(range(3, 3 + n % 5 + 1)), (7, 8)) for n in range(40)]


def test_a_killed_training_goes_on_from_its_checkpoint(tiny, tmp_path, monkeypatch):
    monkeypatch.setattr(trainer, "BATCHES", (4, 4))
    monkeypatch.setattr(callbacks, "SAVE_EVERY", 0.0)
    seen = []

    def load():
        model = tiny("llama").model
        return model.__class__.from_pretrained(tiny("llama").folder, dtype=torch.float32)

    def killed(name, step, of):
        seen.append(step)
        if seen == list(range(1, 8)):
            raise KeyboardInterrupt

    tuner = Tuner(load, progress=killed)
    config = TrainConfig("full", 1e-3, 2.0)
    with pytest.raises(KeyboardInterrupt):
        tuner.train(config, ROWS, tmp_path / "a")
    done = tuner.train(config, ROWS, tmp_path / "a")
    assert done.complete
    assert seen[7] in (6, 7, 8), "the checkpoint of the sixth or seventh step"
    assert seen[-1] == 20
    assert not list((tmp_path / "a").glob("checkpoint-*")), "what is done needs none"
    whole = Tuner(load).train(config, ROWS, tmp_path / "b")
    assert whole.epochs == done.epochs == 2
    weights = [trainer.load_file(tmp_path / f / trainer.WEIGHTS) for f in "ab"]
    for name, tensor in weights[0].items():
        torch.testing.assert_close(tensor, weights[1][name], rtol=0.02, atol=1e-4)


def test_time_ends_a_training_and_is_said_so(tiny, tmp_path):
    lm = tiny("llama").lm
    tuned = tune(lm, "full", PAIRS, tmp_path, minutes=1e-6)
    assert not tuned.settings["complete"]
    assert tuned.settings["epochs"] < 2
    assert np.isfinite(score(tuned.lm)).all()


def test_a_search_that_time_cut_short_is_no_complete_training(tiny, tmp_path, monkeypatch):
    monkeypatch.setattr(trainer.Tuner, "choose", cut(trainer.Tuner.choose))
    tuned = tune(tiny("llama").lm, "full", PAIRS, tmp_path)
    assert not tuned.settings["complete"]


def cut(choose):
    return lambda *arguments: trainer.replace(choose(*arguments), complete=False)


RISING, FALLING = [0.5, 0.6, 0.7], [0.7, 0.6, 0.5]


@pytest.mark.parametrize(
    ("losses", "best_trial", "stops"),
    [
        (FALLING, [], False),
        (FALLING, [0.6, 0.5, 0.4], True),
        (FALLING, [0.6, 0.55, 0.55], False),  # it caught up
        (FALLING, [0.6, 0.5], False),  # the best_trial was not trained for so long
        (FALLING[:1], [0.6, 0.5, 0.4], False),  # one pass tells little
        (RISING, [], True),  # of itself
    ],
)
def test_a_trial_ends_where_it_no_longer_helps(tmp_path, losses, best_trial, stops):
    own = callbacks.TimeBudgetCallback(tmp_path, None, None, "full", list(enumerate(best_trial, 1)))
    state = TrainerState(log_history=[{"eval_loss": loss} for loss in losses])
    control = TrainerControl()
    own.on_evaluate(None, state, control)
    assert control.should_training_stop is stops


def test_a_rate_that_is_behind_a_lower_one_is_given_up(tiny, tmp_path, monkeypatch):
    monkeypatch.setattr(trainer, "RATES", {"full": (1e-2, 10.0)})
    tuner = Tuner(lambda: fresh(tiny))
    chosen = tuner.choose("full", LEARNABLE, tmp_path, None)
    assert chosen.config.rate == 1e-2
    epochs = [json.loads((tmp_path / f"rate-{n}" / DONE).read_text())["epochs"] for n in (0, 1)]
    assert epochs[1] == callbacks.PATIENCE < epochs[0]


@pytest.mark.parametrize("method", ["partial", "lora", "prompt-tuning"])
def test_frozen_weights_are_in_the_frozen_model_s_precision(tiny, method):
    model = prepare(fresh(tiny), method, [5, 6], torch.bfloat16)
    types = {(p.requires_grad, p.dtype) for p in model.parameters()}
    assert types == {(True, torch.float32), (False, torch.bfloat16)}


def test_time_that_the_search_leaves_goes_to_the_training(tiny, tmp_path, monkeypatch):
    given = []
    train = Tuner.train

    def noted(self, *arguments, seconds=None, **options):
        given.append(seconds)
        return train(self, *arguments, seconds=seconds, **options)

    monkeypatch.setattr(Tuner, "train", noted)
    Tuner(lambda: fresh(tiny)).tune("full", LEARNABLE, tmp_path, 0, 60.0)
    search, training = given
    assert search == 60 * 60 * trainer.SEARCH_SHARE
    assert 60 * 60 - 300 < training < 60 * 60


@pytest.mark.parametrize(
    ("losses", "complete", "epochs"),
    [
        (((1.0, 0.5),), False, 4),  # the most
        (((1.0, 0.4), (2.0, 0.5)), False, 3),  # the fewest
        (((1.0, 0.4),), True, 3),
        (((1.0, 0.9), (4.0, 0.4), (5.0, 0.5)), True, 4),
    ],
)
def test_epochs_are_those_of_the_least_loss_and_more_where_that_says_too_little(
    losses, complete, epochs, tmp_path, monkeypatch
):
    configs = []

    def train(self, config, rows, folder, **options):
        configs.append(config)
        return trainer.Trained(10.0, losses[-1][0], losses, complete)

    monkeypatch.setattr(Tuner, "train", train)
    Tuner(lambda: pytest.fail("loaded")).tune("full", LEARNABLE, tmp_path, 0, 60.0)
    assert configs[-1].epochs == epochs


def test_the_rate_rises_and_falls_to_nothing():
    assert batches.lr_schedule(0.0, least=0.03) == pytest.approx(0.5)
    assert batches.lr_schedule(batches.WARMUP) == pytest.approx(1.0)
    assert batches.lr_schedule((batches.WARMUP + 1) / 2) == pytest.approx(0.5)
    assert batches.lr_schedule(1.0) == batches.lr_schedule(1.2) == 0.0


def test_where_time_is_short_the_rate_falls_with_it(tiny, tmp_path, monkeypatch):
    rates, time = [], iter([0.0, 0.25, 0.5, 0.75, 1.0, 1.25])
    step = batches.ChunkedTrainer.training_step

    def noted(self, *arguments, **options):
        rates.append(self.lr_scheduler.get_last_lr()[0])
        monkeypatch.setattr(callbacks.TimeBudgetCallback, "spent", next(time))
        return step(self, *arguments, **options)

    monkeypatch.setattr(batches.ChunkedTrainer, "training_step", noted)
    config = TrainConfig("full", 1.0, 50.0)
    done = Tuner(lambda: fresh(tiny)).train(config, LEARNABLE, tmp_path, seconds=1.0)
    assert not done.complete
    assert rates[2:] == pytest.approx(
        [batches.lr_schedule(share) for share in (0.25, 0.5, 0.75, 1.0)]
    )


def test_a_step_of_long_rows_is_taken_in_parts(tiny, tmp_path, monkeypatch):
    arguments = Tuner._arguments

    def plain(*given, **named):
        """Steps as long as the gradient: AdamW's would be the same whatever its scale."""
        made = arguments(*given, **named)
        made.optim, made.max_grad_norm = "sgd", 0.0
        return made

    monkeypatch.setattr(Tuner, "_arguments", plain)
    begun, moved = fresh(tiny).state_dict(), []
    for tokens in (10_000, 32):
        monkeypatch.setattr(batches, "TOKENS", tokens)
        place, config = tmp_path / str(tokens), TrainConfig("full", 0.1, 2.0)
        Tuner(lambda: fresh(tiny)).train(config, LEARNABLE, place)
        trained = trainer.load_file(place / trainer.WEIGHTS)
        moved.append(torch.cat([(trained[name] - begun[name]).flatten() for name in trained]))
    assert moved[0].norm() > 0.01
    torch.testing.assert_close(*moved, rtol=0.02, atol=0.02 * float(moved[0].abs().max()))


def test_half_written_checkpoints_are_passed_over(tiny, tmp_path):
    (tmp_path / "rate-0" / "checkpoint-3").mkdir(parents=True)
    (tmp_path / "rate-0" / "checkpoint-3" / "model.safetensors").write_bytes(b"half")
    assert tune(tiny("llama").lm, "lora", PAIRS, tmp_path).settings["complete"]


def test_a_soft_prompt_begins_as_the_answers(tiny):
    model = tiny("llama").model.__class__(tiny("llama").model.config)
    rows = [Row((3, 4), (7, 8)), Row((3, 5), (6,)), Row((9,), (7, 8))]
    assert trainer.soft_init(rows) == [6, 7, 8]
    soft = prepare(model, "prompt-tuning", trainer.soft_init(rows)).get_prompt(1)[0]
    expected = model.get_input_embeddings()(torch.tensor([6, 7, 8, 6]))
    torch.testing.assert_close(soft[:4], expected)


def test_few_rows_take_more_epochs(monkeypatch):
    monkeypatch.setattr(trainer, "EPOCHS", (4, 24))
    monkeypatch.setattr(trainer, "BATCHES", (16, 32))
    assert [trainer.most_epochs(rows) for rows in (10, 100, 400, 5000)] == [24, 24, 12, 4]


def test_weights_of_another_version_are_refused(tiny, tmp_path):
    tune(tiny("llama").lm, "lora", PAIRS, tmp_path)
    file = tmp_path / "seed-0" / trainer.WEIGHTS
    trainer.save_file({"strange": torch.zeros(2)}, file)
    with pytest.raises(BackendError, match="another version"):
        tune(tiny("llama").lm, "lora", PAIRS, tmp_path)


def test_the_first_stage_is_where_the_second_begins(tiny, tmp_path):
    lm = tiny("llama").lm
    reversed_ = [(parts, TEMPLATE.answer(LABELS["weather" in answer])) for parts, answer in PAIRS]
    tuned = tune(lm, "full", PAIRS, tmp_path / "x", before=reversed_)
    alone = tune(lm, "full", PAIRS, tmp_path / "y")
    assert (tmp_path / "x" / "before" / "seed-0" / DONE).exists()
    assert np.abs(score(tuned.lm) - score(alone.lm)).max() > 1e-3


def test_a_soft_prompt_scores_as_peft_reads_it(tiny, tmp_path):
    it = tiny("llama")
    tuned = tune(it.lm, "prompt-tuning", PAIRS, tmp_path)
    load = lambda: it.model.__class__.from_pretrained(it.folder, dtype=torch.float32)  # noqa: E731
    model = Tuner(load).tuned("prompt-tuning", tmp_path, 0).eval()
    assert_scores_match(it, tuned.lm, model)


def test_a_merged_adapter_scores_as_peft_reads_it(tiny, tmp_path):
    it = tiny("llama")
    tuned = tune(it.lm, "lora", PAIRS, tmp_path)
    load = lambda: it.model.__class__.from_pretrained(it.folder, dtype=torch.float32)  # noqa: E731
    model = Tuner(load).tuned("lora", tmp_path, 0).eval()
    assert_scores_match(it, tuned.lm, model)
    assert merged(it.model) is it.model


def assert_scores_match(it, lm, model):
    scores = score(lm)
    for row, text in enumerate(("rain 3", "song 5")):
        for column, label in enumerate(LABELS):
            split = it.lm.tokens.split(TEMPLATE.render(text, []), [TEMPLATE.answer(label)])
            ids = [*split.ids, *split.answers[0]]
            with torch.inference_mode():
                logits = model(input_ids=torch.tensor([ids])).logits[0].log_softmax(-1)
            own = len(split.answers[0])
            expected = sum(
                logits[-own - 1 + n, token].item() for n, token in enumerate(split.answers[0])
            )
            assert scores[row, column] == pytest.approx(expected, abs=1e-3)


def test_held_out_rows_are_the_same_each_time_and_not_trained_on():
    train, held = held_out(ROWS)
    assert held_out(ROWS) == (train, held)
    assert len(held) == 8
    assert len(train) + len(held) == len(ROWS)
    assert len(held_out(ROWS * 100)[1]) == trainer.HELD_OUT_ROWS


BATCH = collate(
    [
        {"prompt": [1, 2, 3], "answer": [4, 5], "length": 5},
        {"prompt": [1, 2], "answer": [6], "length": 3},
        {"prompt": [7, 8, 9, 10], "answer": [11], "length": 5},
    ]
)


def test_a_batch_is_padded_and_each_answer_stands_where_it_is_predicted():
    assert BATCH["input_ids"].tolist() == [[1, 2, 3, 4, 5], [1, 2, 6, 0, 0], [7, 8, 9, 10, 11]]
    assert BATCH["attention_mask"].sum(1).tolist() == [5, 3, 5]
    none = IGNORED
    assert BATCH["labels"].tolist() == [
        [none, none, 4, 5, none],
        [none, 6, none, none, none],
        [none, none, none, 11, none],
    ]


@pytest.mark.parametrize(
    ("tokens", "rows"), [(15, [3]), (14, [2, 1]), (9, [1, 1, 1]), (2, [1] * 3)]
)
def test_a_part_holds_so_many_tokens_and_at_least_a_row(tokens, rows):
    found = list(batches.parts(BATCH, tokens))
    assert [len(part["input_ids"]) for part in found] == rows
    assert sum(batches.answered(part) for part in found) == batches.answered(BATCH) == 4


def test_a_part_asks_for_the_answers_alone():
    short, long, _ = batches.parts(BATCH, 9)
    assert short["input_ids"].tolist() == [[1, 2, 6]]
    assert [3 + n for n in short["logits_to_keep"].tolist()] == [1]
    assert short["labels"].tolist() == [[6]]
    assert long["input_ids"].tolist() == [[1, 2, 3, 4, 5]]
    assert [5 + n for n in long["logits_to_keep"].tolist()] == [2, 3]
    assert long["labels"].tolist() == [[4, 5]]


def test_held_out_loss_is_the_same_in_parts(tiny, tmp_path, monkeypatch):
    losses = []
    for tokens in (10_000, 32):
        monkeypatch.setattr(batches, "TOKENS", tokens)
        config = TrainConfig("full", 0.0, 1.0)
        done = Tuner(lambda: fresh(tiny)).train(
            config, LEARNABLE[:20], tmp_path / str(tokens), held=LEARNABLE[20:]
        )
        losses += [loss for _, loss in done.losses]
    assert losses[0] == pytest.approx(losses[1], rel=1e-3)


def test_other_weights_are_scored_by_the_base_model_s_route(tiny, monkeypatch):
    it = tiny("llama")
    prompts, answers = [TEMPLATE.render("rain", [])], [TEMPLATE.answer(some) for some in LABELS]
    expected = it.lm.score(prompts, answers)
    monkeypatch.setattr("ragicl.backends.hf.lm.choose_route", lambda model: "unpacked")
    other = it.lm.variant(fresh(tiny), "other")
    assert other.route() == "packed"
    np.testing.assert_allclose(other.score(prompts, answers), expected, atol=1e-4)


def test_distributions_agree_with_scores(tiny):
    lm = tiny("llama").lm
    parts = TEMPLATE.render("rain", [("song", "music")])
    log_probs, tokens = answer_log_probs(lm, parts, TEMPLATE.answer("weather"))
    assert log_probs.shape[0] == len(tokens)
    np.testing.assert_allclose(np.exp(log_probs).sum(axis=1), 1, atol=1e-4)
    own = log_probs[np.arange(len(tokens)), tokens].sum()
    expected = lm.score([parts], [TEMPLATE.answer("weather")])[0, 0]
    assert own == pytest.approx(expected, abs=1e-3)


def test_hidden_states_are_those_of_the_last_layer(tiny):
    it = tiny("llama")
    parts = TEMPLATE.render("rain", [])
    ids = torch.tensor([it.lm.tokens.encode(parts)])
    with torch.inference_mode():
        expected = it.model(input_ids=ids, output_hidden_states=True).hidden_states[-1][0, -1]
    np.testing.assert_allclose(hidden(it.lm, [parts, parts])[1], expected, atol=1e-4)


def test_what_cannot_be_tuned_is_refused(tiny, tmp_path):
    with pytest.raises(TaskError, match="too few"):
        tune(tiny("llama").lm, "lora", PAIRS[:4], tmp_path)
    with pytest.raises(BackendError, match="cannot be fine-tuned"):
        tune(FakeLM(), "lora", PAIRS, tmp_path)
    with pytest.raises(BackendError, match="soft prompt"):
        tune(tiny("mistral").lm, "prompt-tuning", PAIRS, tmp_path)


def test_a_missing_package_is_named(tiny, tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "peft", None)
    with pytest.raises(MissingExtraError, match=r"training lora needs peft; .*ragicl\[eval\]"):
        tune(tiny("llama").lm, "lora", PAIRS, tmp_path)
