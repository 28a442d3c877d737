"""What users of plain TRL run: DPOTrainer with LoRA on a local base, resumed when it is asked to.

Nothing here works against TRL: options are the defaults, or what its documentation recommends.
"""

from __future__ import annotations

import argparse
import json
from pathlib import Path
from typing import Any


def main(arguments: list[str]) -> None:
    """``train.py [--resume] [--jit] [--key value ...]`` in the current folder."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--make-base", action="store_true")
    parser.add_argument("--resume", action="store_true")
    parser.add_argument("--jit", action="store_true")
    parser.add_argument("--steps", type=int, default=40)
    parser.add_argument("--learning-rate", type=float, default=1e-3)
    parser.add_argument("--batch", type=int, default=4)
    parser.add_argument("--accumulate", type=int, default=1)
    options = parser.parse_args(arguments)
    make_base(Path("base")) if options.make_base else train(options)


def make_base(folder: Path) -> None:
    """A tiny Llama with random parameters and a tokenizer of bytes."""
    import torch
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers
    from transformers import LlamaConfig, LlamaForCausalLM, PreTrainedTokenizerFast

    letters = sorted(pre_tokenizers.ByteLevel.alphabet())
    vocabulary = {token: n for n, token in enumerate(["<pad>", "</s>", *letters])}
    tokenizer = Tokenizer(models.BPE(vocabulary, []))
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    fast = PreTrainedTokenizerFast(tokenizer_object=tokenizer, pad_token="<pad>", eos_token="</s>")
    torch.manual_seed(0)
    config = LlamaConfig(
        vocab_size=len(vocabulary), hidden_size=64, intermediate_size=128, num_hidden_layers=2,
        num_attention_heads=4, num_key_value_heads=4, max_position_embeddings=256,
        pad_token_id=0, eos_token_id=1, bos_token_id=None,
    )  # fmt: skip
    LlamaForCausalLM(config).save_pretrained(folder)
    fast.save_pretrained(folder)


def train(options: argparse.Namespace) -> None:
    """Train to the end, or go on from the last checkpoint."""
    import torch
    from datasets import Dataset, disable_progress_bars
    from peft import LoraConfig
    from transformers import AutoTokenizer, TrainerCallback
    from transformers.trainer_callback import PrinterCallback
    from trl import DPOConfig, DPOTrainer

    torch.set_num_threads(1)
    disable_progress_bars()
    log = Path("log.jsonl")

    class Log(TrainerCallback):
        def on_log(
            self, args: Any, state: Any, control: Any, logs: Any = None, **rest: Any
        ) -> None:
            if "loss" in (logs or {}):
                with log.open("a") as file:
                    row = {"step": state.global_step, "loss": logs["loss"]}
                    row |= {
                        "grad_norm": logs.get("grad_norm"),
                        "num_tokens": logs.get("num_tokens"),
                    }
                    file.write(json.dumps(row) + "\n")

    rows = [json.loads(line) for line in Path("pairs.jsonl").read_text().splitlines()]
    arguments = DPOConfig(
        output_dir="out", max_steps=options.steps, save_steps=5, logging_steps=1,
        learning_rate=options.learning_rate, per_device_train_batch_size=options.batch,
        gradient_accumulation_steps=options.accumulate, max_length=128, report_to="none",
        use_cpu=True, bf16=False, gradient_checkpointing=False, disable_tqdm=True,
        enable_jit_checkpoint=options.jit,
    )  # fmt: skip
    trainer = DPOTrainer(
        model="base", args=arguments, train_dataset=Dataset.from_list(rows),
        processing_class=AutoTokenizer.from_pretrained("base"),
        peft_config=LoraConfig(r=16, lora_alpha=32, lora_dropout=0.1, target_modules="all-linear"),
        callbacks=[Log()],
    )  # fmt: skip
    trainer.remove_callback(PrinterCallback)
    trainer.train(resume_from_checkpoint=options.resume or None)
    trainer.save_model("final")
