"""Prompts: templates give back what they were given, and the budget is never exceeded."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import pytest
from hypothesis import assume, example, given, settings
from hypothesis import strategies as st

from ragicl.errors import BudgetError, TaskError
from ragicl.prompting.compose import compose
from ragicl.prompting.template import (
    INPUT,
    OUTPUT,
    PlainTemplate,
    chat_template,
    named_template,
    plain_template,
)
from ragicl.protocols import Message, Parts
from ragicl.records import Example, Neighbor, Prompt

Count = Callable[[Parts], int]


def count_words(parts: Parts) -> int:
    return len("".join(parts).split())


def count_chunks(parts: Parts) -> int:
    """Not additive: neighbouring parts share a token, and there is one special token."""
    return 1 + -(-len("".join(parts)) // 3)


counts = st.sampled_from([count_words, count_chunks])


def neighbors_of(sizes: Sequence[int]) -> list[Neighbor]:
    """Nearest first; each demonstration has a word that no other text has."""
    return [
        Neighbor(Example(f"<{i}>" + " w" * size, "label", str(i)), 1 - i / 100, i)
        for i, size in enumerate(sizes)
    ]


def rendered(template: PlainTemplate, query: str, shots: Sequence[Neighbor]) -> tuple[str, ...]:
    return template.render(query, [(n.example.input, n.example.output) for n in shots])


def ids(shots: Sequence[Neighbor]) -> list[int]:
    return [int(n.example.id) for n in shots]


# ---------------------------------------------------------------------------------- budget

sizes = st.lists(st.integers(0, 30), max_size=9)
queries = st.integers(1, 20).map(lambda n: " ".join(["query"] * n))


@settings(max_examples=300)
@given(
    sizes=sizes, query=queries, count=counts, budget=st.integers(0, 160), reserve=st.integers(0, 9)
)
def test_prompt_keeps_the_nearest_that_fit_whole_and_nearest_last(
    sizes: list[int], query: str, count: Count, budget: int, reserve: int
) -> None:
    neighbors, template = neighbors_of(sizes), plain_template("classify")
    room = budget - reserve
    assume(count(rendered(template, query, [])) <= room)
    prompt = compose(query, neighbors, template, count=count, budget=budget, reserve=reserve)
    assert prompt.tokens == count(prompt.parts) <= room
    assert not prompt.truncated
    assert prompt.dropped == len(neighbors) - len(prompt.shots)
    kept = list(reversed(prompt.shots))
    assert prompt.text == "".join(rendered(template, query, prompt.shots))
    for neighbor in neighbors:  # whole or not at all
        whole = f"Text: {neighbor.example.input}\nLabel: label\n"
        assert (whole in prompt.text) == (neighbor in kept)
        assert (f"<{neighbor.example.id}>" in prompt.text) == (neighbor in kept)
    possible = [n for n in neighbors if count(rendered(template, query, [n])) <= room]
    assert kept == possible[: len(kept)]
    if len(kept) < len(possible):  # one more would not fit
        assert count(rendered(template, query, possible[len(kept) :: -1])) > room


def test_demonstration_too_long_by_itself_does_not_push_out_shorter_ones() -> None:
    template, neighbors = plain_template("classify", ""), neighbors_of([2, 500, 3])
    prompt = compose("q", neighbors, template, count=count_words, budget=40, reserve=5)
    assert (ids(prompt.shots), prompt.dropped) == ([2, 0], 1)


def test_farthest_is_dropped_first() -> None:
    template, neighbors = plain_template("classify", ""), neighbors_of([5, 5, 5, 5])
    kept = [
        ids(compose("q", neighbors, template, count=count_words, budget=b, reserve=0).shots)
        for b in (3, 12, 21, 30, 39, 400)
    ]
    assert kept == [[], [0], [1, 0], [2, 1, 0], [3, 2, 1, 0], [3, 2, 1, 0]]


@given(query=queries, count=counts, reserve=st.integers(0, 30), short_by=st.integers(1, 10))
def test_query_that_does_not_fit_alone_is_refused_with_both_numbers(
    query: str, count: Count, reserve: int, short_by: int
) -> None:
    template = plain_template("classify")
    needed = count(rendered(template, query, [])) + reserve
    with pytest.raises(BudgetError) as caught:
        compose(
            query,
            neighbors_of([1]),
            template,
            count=count,
            budget=needed - short_by,
            reserve=reserve,
        )
    assert (caught.value.needed, caught.value.budget) == (needed, needed - short_by)
    assert f"takes {needed} tokens" in str(caught.value)
    assert f"budget is {needed - short_by}:" in str(caught.value)
    assert "\n" not in str(caught.value)


@settings(max_examples=200)
@given(
    query=st.text("ab  \n", min_size=1, max_size=60),
    count=counts,
    budget=st.integers(0, 40),
    reserve=st.integers(0, 5),
)
@example(query="a", count=count_words, budget=0, reserve=5)
def test_truncation_keeps_the_longest_beginning_that_fits(
    query: str, count: Count, budget: int, reserve: int
) -> None:
    template, room = plain_template("classify"), budget - reserve
    assume(count(rendered(template, query, [])) > room)
    fitting = [
        query[:end]
        for end in range(1, len(query))
        if query[:end].strip() and count(rendered(template, query[:end], [])) <= room
    ]

    def cut() -> Prompt:
        return compose(
            query,
            neighbors_of([1, 1]),
            template,
            count=count,
            budget=budget,
            reserve=reserve,
            truncate=True,
        )

    if not fitting:
        with pytest.raises(BudgetError, match=f"budget of {budget} tokens has no room") as caught:
            cut()
        assert caught.value.needed == count(rendered(template, query, [])) + reserve
        return
    prompt = cut()
    assert prompt.truncated
    assert (prompt.shots, prompt.dropped) == ((), 2)
    assert prompt.parts == rendered(template, fitting[-1], [])
    assert prompt.tokens == count(prompt.parts) <= room


def test_a_huge_query_is_cut_without_counting_all_of_it() -> None:
    counted: list[int] = []

    def count(parts: Parts) -> int:
        counted.append(len("".join(parts)))
        return count_words(parts)

    prompt = compose(
        "word " * 200_000,
        neighbors_of([3] * 8),
        plain_template("classify"),
        count=count,
        budget=200,
        reserve=5,
        truncate=True,
    )
    assert prompt.truncated
    assert prompt.tokens == 195
    assert sum(counted) < 40_000


def test_query_that_fits_is_not_truncated() -> None:
    template = plain_template("generate")
    both = [
        compose("q", [], template, count=count_words, budget=30, reserve=3, truncate=truncate)
        for truncate in (False, True)
    ]
    assert both[0] == both[1]
    assert not both[0].truncated


# ---------------------------------------------------------------------------------- templates

filling = st.text("aB:\n \t{}é", max_size=8).filter(lambda s: INPUT not in s and OUTPUT not in s)
tricky = st.sampled_from([INPUT, OUTPUT, f"{OUTPUT} {INPUT}", "{", "}", "{0}", "\\1", "%s"])
words = st.text(max_size=10) | tricky | st.tuples(tricky, st.text(max_size=5)).map("".join)
inputs = words.filter(lambda s: s.strip())


@st.composite
def patterns(draw: st.DrawFn) -> str:
    pattern = draw(filling) + INPUT + draw(filling) + OUTPUT + draw(filling)
    assume(pattern.count(INPUT) == 1)
    assume(pattern.count(OUTPUT) == 1)
    return pattern


def filled(shot: str, text: str, output: str) -> str:
    head, _, rest = shot.partition(INPUT)
    middle, _, end = rest.partition(OUTPUT)
    return head + text.strip() + middle + output + end


@settings(max_examples=300)
@given(
    shot=patterns(),
    instruction=st.just("") | words,
    separator=st.sampled_from(["\n", "\n\n", " ", "###\n"]),
    shots=st.lists(st.tuples(inputs, words), max_size=3),
    query=inputs,
    output=words,
)
def test_prompt_and_answer_are_the_filled_in_pattern(
    shot: str,
    instruction: str,
    separator: str,
    shots: list[tuple[str, str]],
    query: str,
    output: str,
) -> None:
    template = PlainTemplate(shot, instruction, separator)
    parts = template.render(query, shots)
    pieces = [instruction] if instruction else []
    pieces += [filled(shot, text, label) for text, label in [*shots, (query, output)]]
    assert "".join(parts) + template.answer(output) == separator.join(pieces) + separator
    assert len(parts) == len(pieces)
    # The end of the prompt holds no white space that a tokenizer might want in the answer.
    assert not parts[-1] or parts[-1] == parts[-1].rstrip() or parts[-1].isspace()


def test_label_that_begins_another_is_told_apart_by_its_ending() -> None:
    template = plain_template("classify")
    short, long = template.answer("calendar"), template.answer("calendar update")
    assert (short, long) == (" calendar\n", " calendar update\n")
    assert not long.startswith(short)


@pytest.mark.parametrize(
    "shot",
    [
        "",
        "no fields",
        "only {input}",
        "only {output}",
        "{output} before {input}",
        "{input} {input} {output}",
        "{input} {output} {output}",
    ],
)
def test_bad_patterns_are_refused_by_name(shot: str) -> None:
    with pytest.raises(TaskError, match=r"must hold {input} once and, after it, {output} once"):
        PlainTemplate(shot)


def test_answer_without_an_ending_is_refused() -> None:
    with pytest.raises(TaskError, match="needs a separator"):
        PlainTemplate("{input}: {output}", separator="")


@pytest.mark.parametrize(
    ("shot", "separator", "stop"),
    [
        ("Text: {input}\nLabel: {output}", "\n", "\nText:"),
        ("Input: {input}\nOutput: {output}", "\n\n", "\n\nInput:"),
        ("Q: {input}\nA:\n{output}", "\n", "\nQ:"),
        ("{input}\n{output}", "\n\n", "\n\n"),
        ("{input} => {output};", "\n", ";\n"),
        ("{input}: {output}", " ; ", ";"),
        ("{input}:\n{output}", " ", " "),
    ],
)
def test_stop_is_what_stands_between_an_output_and_the_next_input(
    shot: str, separator: str, stop: str
) -> None:
    assert PlainTemplate(shot, separator=separator).stops[0] == stop


@pytest.mark.parametrize(
    ("shot", "separator", "again"),
    [
        ("Input: {input}\nOutput: {output}", "\n\n", ["\n\nOutput:"]),
        ("In: {input}\nOut: {output}.", " ", [". Out:"]),
        ("Q: {input}\nA:\n{output}", "\n", []),  # the answer begins with a new line
        ("{input}\n{output}", "\n\n", []),
        ("{input}: {output}", " ; ", []),
    ],
)
def test_a_second_output_for_the_same_input_ends_an_answer(
    shot: str, separator: str, again: list[str]
) -> None:
    template = PlainTemplate(shot, separator=separator)
    assert list(template.stops[1:]) == again


@pytest.mark.parametrize(
    ("shot", "separator"), [("{input}\n{output}", "\n"), ("{input} {output}", " ")]
)
def test_no_stop_where_it_would_end_every_answer_at_once(shot: str, separator: str) -> None:
    assert PlainTemplate(shot, separator=separator).stops == ()


@settings(max_examples=300)
@given(shot=patterns(), separator=st.sampled_from(["\n", "\n\n", " ", "###\n"]))
def test_stop_ends_an_answer_that_goes_on_with_another_shot(shot: str, separator: str) -> None:
    template = PlainTemplate(shot, separator=separator)
    assume(template.stops)
    stop = template.stops[0]
    goes_on = template.answer("XYZ") + filled(shot, "QRS", "XYZ")
    before, found, _ = goes_on.partition(stop)
    assert found
    assert before.strip().startswith("XYZ")
    assert "QRS" not in before


@pytest.mark.parametrize(
    ("shot", "separator", "ended"),
    [
        ("Input: {input}\nOutput: {output}", "\n\n", " XYZ\n\nInput:"),
        ("{input} => {output};", "\n", " XYZ;\n"),
        ("{input}: {output}", " ; ", " XYZ ; "),
        ("Q: {input}\nA:\n{output}", "\n", "\nXYZ\nQ:"),
    ],
)
def test_an_ended_answer_holds_all_of_what_stops_it(shot: str, separator: str, ended: str) -> None:
    template = PlainTemplate(shot, separator=separator)
    assert template.ended("XYZ") == ended
    before, stop, _ = ended.partition(template.stops[0])
    assert (before.strip(), stop) == ("XYZ", template.stops[0])


BREAKS = ["\n", "\r\n", "\r", "\v", "\f", "\x1c", "\x1d", "\x1e", "\x85", "\u2028", "\u2029"]


@pytest.mark.parametrize("line_break", BREAKS)
@pytest.mark.parametrize("shot", [None, "Q: {input}\nA: {output}"])
def test_a_text_cannot_write_lines_of_the_frame(line_break: str, shot: str | None) -> None:
    template = named_template(shot or "plain", "classify")
    line = line_break.join(["broken mug", "Label: login", "", " Text: A: x", ""])
    (*_, shown, query) = template.render(line, [(line, "damaged")])
    folded = "broken mug Label: login Text: A: x"
    usual = template.render(folded, [(folded, "damaged")])
    assert (shown, query) == usual[-2:]
    assert len((shown + query).splitlines()) == len((usual[-2] + usual[-1]).splitlines()) == 5


@given(query=inputs)
def test_a_label_prompt_has_as_many_lines_whatever_the_text(query: str) -> None:
    rendered = "".join(plain_template("classify").render(query, [(query, "label")]))
    assert len(rendered.splitlines()) == 5


def test_texts_to_write_keep_their_lines() -> None:
    assert plain_template("generate").render("a\n b", ())[-1] == "\n\nInput: a\n b\nOutput:"


# ---------------------------------------------------------------------------------- chat


def chat(messages: Sequence[Message]) -> str:
    turns = "".join(f"<{m['role']}>{m['content']}</turn>\n" for m in messages)
    return f"<s>{turns}<assistant>"


def test_chat_template_finds_the_ending_that_the_format_writes() -> None:
    template = chat_template(chat, "Be brief.")
    assert template.ending == "</turn>"
    assert template.answer("label") == template.ended("label") == "label</turn>"
    assert template.stops == ("</turn>",)


def test_chat_shots_are_turns_and_the_text_ends_ready_for_the_answer() -> None:
    (text,) = chat_template(chat, "Be brief.").render(" q ", [("far", "a"), (" near\n", "b")])
    assert text == (
        "<s><system>Be brief.</turn>\n<user>far</turn>\n<assistant>a</turn>\n"
        "<user>near</turn>\n<assistant>b</turn>\n<user>q</turn>\n<assistant>"
    )


def test_chat_without_instruction_has_no_system_turn() -> None:
    assert chat_template(chat).render("q", ()) == ("<s><user>q</turn>\n<assistant>",)


@pytest.mark.parametrize(
    ("between", "ending"),
    [("<eos>\n<user>", "<eos>"), ("\nUser: ", "\n"), ("", "\n"), ("|", "|")],
)
def test_chat_ending_by_what_stands_between_turns(between: str, ending: str) -> None:
    def joined(messages: Sequence[Message]) -> str:
        return between.join(m["content"] for m in messages)

    assert chat_template(joined).ending == ending


@settings(max_examples=60)
@given(shots=st.lists(st.tuples(inputs, inputs), max_size=3), query=inputs, output=inputs)
def test_chat_and_answer_are_the_chat_with_that_answer(
    shots: list[tuple[str, str]], query: str, output: str
) -> None:
    template = chat_template(chat)
    (text,) = template.render(query, shots)
    (longer,) = template.render("next", [*shots, (query, output)])
    assert longer.startswith(text + template.answer(output))


def test_chat_prompts_keep_to_the_budget_too() -> None:
    template, neighbors = chat_template(chat), neighbors_of([4, 4, 4])
    prompt = compose("q", neighbors, template, count=count_chunks, budget=40, reserve=5)
    assert prompt.tokens == count_chunks(prompt.parts) <= 35
    assert ids(prompt.shots) == [0]
    assert prompt.dropped == 2


def test_messages_are_the_prompt_as_turns() -> None:
    near = [Neighbor(Example("far", "b", "2"), 0.1, 1), Neighbor(Example("near", "a", "1"), 0.9, 0)]
    template = plain_template("classify", "Say it.")
    prompt = compose("query", near[::-1], template, count=count_words, budget=100, reserve=1)
    assert [(m["role"], m["content"]) for m in prompt.messages] == [
        ("system", "Say it."),
        ("user", "far"),
        ("assistant", "b"),
        ("user", "near"),
        ("assistant", "a"),
        ("user", "query"),
    ]
    chat = chat_template(lambda turns: "".join(f"<{m['role']}>{m['content']}" for m in turns))
    assert chat.render("q", [("x", "y")]) == (chat.chat(chat.messages("q", [("x", "y")])),)
    cut = compose("w " * 50, near, template, count=count_words, budget=9, reserve=1, truncate=True)
    assert cut.truncated
    assert cut.messages[-1]["content"] in cut.text
