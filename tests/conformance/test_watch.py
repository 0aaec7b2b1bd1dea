"""winnow watch beside the Trainer of transformers and PEFT: the files that they really write, while they write them."""

import json
import os
import subprocess
import threading
import unittest

import torch
from peft import LoraConfig, get_peft_model
from transformers import LlamaConfig, LlamaForCausalLM, Trainer, TrainerCallback, TrainingArguments
from winnow_program import PROGRAM, Report, TemporaryDirectoryCase, needs_winnow, run

LORA = {"r": 4, "lora_alpha": 8, "target_modules": ["q_proj", "up_proj"], "task_type": "CAUSAL_LM"}
LATEST = 300  # seconds until a line must have come, however busy the machine is


class Numbers(torch.utils.data.Dataset):
    def __len__(self):
        return 64

    def __getitem__(self, index):
        ids = torch.randint(0, 64, (12,), generator=torch.Generator().manual_seed(index))
        return {"input_ids": ids, "labels": ids}


def model(seed):
    torch.manual_seed(0)
    config = LlamaConfig(vocab_size=64, hidden_size=32, intermediate_size=48, num_hidden_layers=2,
                         num_attention_heads=4, num_key_value_heads=2, max_position_embeddings=32)
    base = LlamaForCausalLM(config)
    torch.manual_seed(seed)
    return get_peft_model(base, LoraConfig(**LORA))


def train(tuned, directory, callbacks=(), **options):
    arguments = {"max_steps": 6, "save_steps": 2, "per_device_train_batch_size": 4, "learning_rate": 1e-2,
                 "report_to": [], "disable_tqdm": True, "use_cpu": True, "logging_strategy": "no", "seed": 1, **options}
    trainer = Trainer(model=tuned, args=TrainingArguments(output_dir=str(directory), **arguments),
                      train_dataset=Numbers(), callbacks=list(callbacks))
    trainer.train()


class Watch:
    """A watch that goes on; its lines, as they come."""

    def __init__(self, arguments):
        self.process = subprocess.Popen([PROGRAM, "watch", *map(str, arguments)], stdout=subprocess.PIPE,
                                        stderr=subprocess.PIPE, text=True, env={**os.environ, "OMP_NUM_THREADS": "1"})
        self.lines, self.errors = [], []
        self.came = threading.Condition()
        self.threads = [threading.Thread(target=self.read, args=pair)
                        for pair in ((self.process.stdout, self.lines), (self.process.stderr, self.errors))]
        for thread in self.threads:
            thread.start()

    def read(self, stream, into):
        for line in stream:
            with self.came:
                into.append(line.rstrip("\n"))
                self.came.notify_all()

    def wait_for(self, text):
        with self.came:
            if not self.came.wait_for(lambda: any(line.startswith(text) for line in self.lines), LATEST):
                raise AssertionError(f"no line {text} in {self.lines}, {self.errors}")

    def end(self):
        code = self.process.wait(LATEST)
        for thread in self.threads:
            thread.join()
        self.process.stdout.close()
        self.process.stderr.close()
        return code


class AfterSave(TrainerCallback):
    def __init__(self, call):
        self.call = call

    def on_save(self, args, state, control, **others):
        self.call(state.global_step)


@needs_winnow
class RealRuns(TemporaryDirectoryCase):
    @classmethod
    def setUpClass(cls):
        super().setUpClass()
        cls.probe = cls.directory / "probe"
        tuned = model(7)
        for name, parameter in tuned.named_parameters():
            if "lora_B" in name:
                torch.nn.init.normal_(parameter, std=0.1)
        tuned.save_pretrained(str(cls.probe))
        cls.kept = cls.directory / "kept"
        train(model(1), cls.kept)

    def audited(self, adapter):
        path = self.directory / "audit.h5"
        path.unlink(missing_ok=True)
        run(["audit", "--probe", f"harmful={self.probe}", "--adapter", adapter, "--report", path, "--threads", 1])
        return Report(path).datasets["adapters/score"][0]

    def test_the_trainer_writes_its_state_last(self):
        for step in (2, 4, 6):
            files = {path.name: path.stat().st_mtime_ns for path in (self.kept / f"checkpoint-{step}").iterdir()}
            last = files.pop("trainer_state.json")
            for name in ("adapter_model.safetensors", "adapter_config.json", "optimizer.pt", "training_args.bin"):
                self.assertLessEqual(files[name], last, name)

    def test_once_it_says_what_an_audit_says(self):
        log = self.directory / "once.jsonl"
        done = run(["watch", self.kept, "--probe", f"harmful={self.probe}", "--once", "--log", log])
        self.assertEqual(done.stderr, "")
        said = [json.loads(line) for line in log.read_text().splitlines()]
        self.assertEqual([entry["step"] for entry in said], [2, 4, 6])
        for entry in said:
            self.assertEqual(entry["score"], self.audited(self.kept / entry["checkpoint"]), "bit for bit")
        self.assertEqual(len({entry["score"] for entry in said}), 3)

    def test_live_with_all_but_one_checkpoint_removed(self):
        directory, log, over = self.directory / "live", self.directory / "live.jsonl", self.directory / "over"
        watch = Watch([directory, "--probe", f"harmful={self.probe}", "--interval", 1, "--log", log, "--until-file",
                       over])
        try:
            watch.wait_for("watching ")
            train(model(1), directory, [AfterSave(lambda step: watch.wait_for(f"checkpoint-{step}:"))],
                  save_total_limit=1)
            over.touch()
            self.assertEqual(watch.end(), 0)
        finally:
            watch.process.kill()
            watch.end()
        self.assertEqual(watch.errors, [])
        self.assertEqual([path.name for path in sorted(directory.glob("checkpoint-*"))], ["checkpoint-6"])
        said = [json.loads(line) for line in log.read_text().splitlines()]
        self.assertEqual([entry["step"] for entry in said], [2, 4, 6])
        for entry in said:  # training is deterministic: those of the run that kept them
            self.assertEqual(entry["score"], self.audited(self.kept / entry["checkpoint"]))

    def test_live_beside_a_run_that_waits_for_nobody(self):
        directory, over = self.directory / "fast", self.directory / "fast-over"
        watch = Watch([directory, "--probe", f"harmful={self.probe}", "--interval", 1, "--until-file", over])
        try:
            train(model(1), directory, max_steps=40, save_steps=1, save_total_limit=2)
            over.touch()
            self.assertEqual(watch.end(), 0)
        finally:
            watch.process.kill()
            watch.end()
        # What was removed meanwhile is told, and nothing else is.
        for line in watch.errors:
            self.assertRegex(line, r"^winnow: warning: checkpoint-\d+ was removed (before it was judged|while it was read)$")
        said = [line.split(":")[0] for line in watch.lines if line.startswith("checkpoint-")]
        self.assertIn("checkpoint-40", said)
        self.assertEqual(len(said), len(set(said)))

    def test_exit_code_4_at_the_threshold(self):
        scores = [self.audited(self.kept / f"checkpoint-{step}") for step in (2, 4, 6)]
        threshold = sorted(scores)[1]
        first = next(step for step, score in zip((2, 4, 6), scores) if score > threshold)
        done = run(["watch", self.kept, "--probe", f"harmful={self.probe}", "--once", "--threshold", repr(float(threshold)),
                    "--fail-on-findings"], expect=4)
        self.assertIn(f"checkpoint-{first}: probe_pull", done.stdout)
        self.assertIn(f"winnow: warning: checkpoint-{first}: above the threshold", done.stderr)

    def test_named_adapters(self):
        tuned, directory = model(1), self.directory / "named"
        tuned.add_adapter("second", LoraConfig(**LORA))
        train(tuned, directory, max_steps=2)
        self.assertTrue((directory / "checkpoint-2" / "second" / "adapter_model.safetensors").is_file())
        done = run(["watch", directory, "--probe", f"harmful={self.probe}", "--once"])
        self.assertRegex(done.stdout, r"(?m)^checkpoint-2: probe_pull [-0-9.e]+$")
        self.assertRegex(done.stdout, r"(?m)^checkpoint-2/second: probe_pull ")

    def test_resumed_training_writes_over_a_checkpoint(self):
        directory, log = self.directory / "resumed", self.directory / "resumed.jsonl"
        watch = ["watch", directory, "--probe", f"harmful={self.probe}", "--once", "--log", log]
        train(model(1), directory)
        run(watch)
        train(model(1), directory)  # the same again: other files, the same content
        done = run(watch)
        self.assertEqual(done.stdout.count("(from the log)"), 3)
        train(model(1), directory, learning_rate=3e-2)
        done = run(watch)
        self.assertEqual(done.stdout.count("(from the log)"), 0)
        self.assertEqual(len(log.read_text().splitlines()), 6)


if __name__ == "__main__":
    unittest.main()
