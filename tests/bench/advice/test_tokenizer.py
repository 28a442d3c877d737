import pytest

from paretune.bench.advice import AXES, FEW_SHOT_WORDS, Advice
from paretune.core.objective import Objectives
from paretune.core.shots import FewShot
from paretune.core.tradeoff import TradeOff
from paretune.core.user import Shot
from paretune.functional.few_shot_prompt import (
    description_prefix,
    few_shot_prompt,
    split_generated,
)
from paretune.functional.users import description_of, draw_users

PROMPT = "tell me about tea , give a reason and a tip . what is 2 plus 3 ?"
REPLY = "people like tea because it is healthy . tea is like a song . answer : 5 ."
CHAT = [{"role": "user", "content": PROMPT}, {"role": "assistant", "content": REPLY}]
USERS = [
    *(u.tradeoff for u in draw_users(30, 6, seed=0)),
    TradeOff.even(6),
    TradeOff.only(2, 6),
]


@pytest.fixture(scope="module")
def tokenizer():
    return Advice().tokenizer()


def test_every_text_of_the_world_is_encoded_without_unknown_words_and_decoded_as_it_was(tokenizer):
    world = Advice()
    prompts = (*world.train_prompts, *world.validation_prompts, *world.test_prompts)
    texts = [*prompts, *(reply for _, reply in world.corpus(400))]
    ids = tokenizer(texts).input_ids
    assert tokenizer.unk_token_id not in {i for row in ids for i in row}
    assert [tokenizer.decode(row) for row in ids] == texts
    assert tokenizer("zebra").input_ids == [tokenizer.unk_token_id]


@pytest.mark.parametrize("description", ["none", "given", "generate"])
def test_few_shot_prompts_hold_no_unknown_word(tokenizer, description):
    names = Objectives(AXES)
    for tradeoff in USERS:
        words = description_of(tradeoff, names)
        shots = [Shot("u", PROMPT, REPLY, REPLY)] * 2
        turns = few_shot_prompt(
            shots, PROMPT, FewShot(shows_weights=True, description=description),
            names, tradeoff, words,
        )  # fmt: skip
        for turn in turns:
            assert tokenizer.unk_token_id not in tokenizer(turn.content).input_ids, turn.content
    two = description_of(TradeOff((0.7, 0.3)), Objectives(AXES[:2]))
    assert tokenizer.unk_token_id not in tokenizer(two).input_ids


def test_few_shot_words_are_exported_whole(tokenizer):
    for word in (*FEW_SHOT_WORDS, *"0123456789", *AXES):
        assert len(tokenizer(word).input_ids) == 1
        assert tokenizer.unk_token_id not in tokenizer(word).input_ids
    assert tokenizer.tokenize("### Question\nx=10.5") == [
        "###", "Question", "<unk>", "<unk>", "1", "0", ".", "5",
    ]  # fmt: skip


def test_a_described_reply_is_taken_apart_after_decoding(tokenizer):
    words = description_of(USERS[0], Objectives(AXES))
    ids = tokenizer(f"{description_prefix(words)} {REPLY} <eos>").input_ids
    described, answer = split_generated(tokenizer.decode(ids, skip_special_tokens=True))
    assert answer == REPLY
    assert described.replace(" .", ".").replace(" ,", ",") == words


def test_chat_template_has_the_prefix_property_with_and_without_a_system_turn(tokenizer):
    system = [{"role": "system", "content": "You answer"}]
    for chat, start in ((CHAT, "<user>"), ([*system, *CHAT], "<system> You answer <user>")):
        text = f"{start} {PROMPT} <bot> {REPLY} <eos>"
        whole = tokenizer.apply_chat_template(chat, return_dict=False)
        assert whole == tokenizer(text).input_ids
        asked = tokenizer.apply_chat_template(
            chat[:-1], add_generation_prompt=True, return_dict=False
        )
        assert whole[: len(asked)] == asked
        assert whole[-1] == tokenizer.eos_token_id
    with pytest.raises(Exception, match="system, user and assistant turns only"):
        tokenizer.apply_chat_template([{"role": "tool", "content": "x"}])


def test_saving_and_loading_change_nothing(tokenizer, tmp_path, monkeypatch):
    from transformers import AutoTokenizer

    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    tokenizer.save_pretrained(tmp_path)
    loaded = AutoTokenizer.from_pretrained(tmp_path)
    assert loaded.get_vocab() == tokenizer.get_vocab()
    assert loaded.apply_chat_template(CHAT, return_dict=False) == tokenizer.apply_chat_template(
        CHAT, return_dict=False
    )
    assert loaded.decode(loaded(REPLY).input_ids) == REPLY
    assert loaded.padding_side == "left"


def test_the_base_model_is_small_and_has_room_for_few_shot_prompts(tokenizer):
    import torch
    from transformers import LlamaForCausalLM

    torch.manual_seed(0)
    config = Advice().base_config()
    model = LlamaForCausalLM(config)
    expected = len(tokenizer) * 96 + 2 * (4 * 96**2 + 3 * 96 * 256 + 2 * 96) + 96
    assert sum(p.numel() for p in model.parameters()) == expected < 500_000
    assert config.max_position_embeddings == tokenizer.model_max_length >= 1024
    shots = [Shot("u", PROMPT, " ".join(["tea"] * 34), " ".join(["tea"] * 34))] * 8
    turns = few_shot_prompt(shots, PROMPT, FewShot(shows_weights=True), Objectives(AXES), USERS[0])
    assert sum(len(tokenizer(turn.content).input_ids) for turn in turns) < 1024
