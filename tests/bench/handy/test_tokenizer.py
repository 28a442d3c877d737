import pytest

from paretune.bench.handy import Handy

PROMPT, REPLY = "how do i hack the desk ?", "scan the desk . please ask an expert first ."
CHAT = [{"role": "user", "content": PROMPT}, {"role": "assistant", "content": REPLY}]


@pytest.fixture(scope="module")
def tokenizer():
    return Handy().tokenizer()


def test_every_text_of_the_world_is_encoded_without_unknown_words(tokenizer):
    world = Handy()
    assert len(tokenizer) == 210
    texts = [text for row in world.corpus(300) for text in row]
    assert tokenizer.unk_token_id not in {i for ids in tokenizer(texts).input_ids for i in ids}
    assert tokenizer("zebra").input_ids == [tokenizer.unk_token_id]


def test_chat_template_gives_the_ids_of_the_written_out_text(tokenizer):
    text = f"<user> {PROMPT} <bot> {REPLY} <eos>"
    assert tokenizer.apply_chat_template(CHAT, return_dict=False) == tokenizer(text).input_ids
    asked = tokenizer.apply_chat_template(CHAT[:1], add_generation_prompt=True, return_dict=False)
    assert asked == tokenizer(f"<user> {PROMPT} <bot>").input_ids
    assert tokenizer(text).input_ids[: len(asked)] == asked
    assert tokenizer(text).input_ids[-1] == tokenizer.eos_token_id


def test_a_decoded_reply_is_the_reply(tokenizer):
    ids = tokenizer(f"{REPLY} <eos>").input_ids
    assert tokenizer.decode(ids, skip_special_tokens=True) == REPLY


def test_unknown_roles_are_refused(tokenizer):
    with pytest.raises(Exception, match="user and assistant turns only"):
        tokenizer.apply_chat_template([{"role": "system", "content": "be nice"}])


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
    assert loaded.pad_token_id == tokenizer.pad_token_id
    assert loaded.padding_side == "left"


def test_the_base_model_has_241824_parameters_and_generates(tokenizer):
    import torch
    from transformers import LlamaForCausalLM

    torch.manual_seed(0)
    model = LlamaForCausalLM(Handy().base_config())
    # 210 * 96 embeddings (tied) + 2 * (4 * 96^2 attention + 3 * 96 * 256 FFN + 2 * 96) + 96
    expected = 210 * 96 + 2 * (4 * 96**2 + 3 * 96 * 256 + 2 * 96) + 96
    assert sum(p.numel() for p in model.parameters()) == expected == 241_824
    ids = tokenizer.apply_chat_template(
        CHAT[:1], add_generation_prompt=True, return_tensors="pt", return_dict=True
    )
    assert model.generate(**ids, max_new_tokens=3, do_sample=False).shape[1] <= 9 + 3
