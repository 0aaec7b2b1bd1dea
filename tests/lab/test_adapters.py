"""Factors are what PEFT makes of an adapter, and PEFT reads what is written here."""

import tempfile
import unittest
import warnings
from pathlib import Path

import torch
from peft import LoraConfig, PeftModel, get_peft_model
from probe.adapters import Factors, attached, compressed, read_adapter, write_adapter
from probe.errors import UserError
from probe.objectives import first_token_logits
from small_model import adapter, model, prompts


class Adapters(unittest.TestCase):
    def setUp(self):
        self.folder = Path(self.enterContext(tempfile.TemporaryDirectory()))

    def trained(self, **options: object) -> PeftModel:
        torch.manual_seed(4)
        tuned = get_peft_model(
            model(dtype=torch.float32),
            LoraConfig(r=4, lora_alpha=6, init_lora_weights=False, task_type="CAUSAL_LM", **options),
        )
        tuned.save_pretrained(str(self.folder / "peft"))
        return tuned

    def test_reads_what_peft_merges(self):
        for options in (
            dict(target_modules=["q_proj", "up_proj"]),
            dict(target_modules=["v_proj"], use_rslora=True),
            dict(
                target_modules="all-linear",
                rank_pattern={"q_proj": 2, r"layers\.1\.mlp\.up_proj": 3},
                alpha_pattern={"o_proj": 11},
            ),
        ):
            with self.subTest(options=options):
                tuned = self.trained(**options)
                merged = tuned.merge_and_unload()
                before = model(dtype=torch.float32)
                found = read_adapter(self.folder / "peft")
                for name, factors in found.items():
                    torch.testing.assert_close(
                        factors.dense(),
                        merged.get_submodule(name).weight - before.get_submodule(name).weight,
                        rtol=1e-4,
                        atol=1e-6,
                    )
                changed = {
                    name
                    for name, module in before.named_modules()
                    if isinstance(module, torch.nn.Linear)
                    and not torch.equal(module.weight, merged.get_submodule(name).weight)
                }
                self.assertEqual(changed, set(found))

    def test_peft_reads_what_is_written(self):
        network = model(dtype=torch.float32)
        update = adapter(network)
        name = next(iter(update))
        update[name] = Factors(update[name].left[:, :2], update[name].right[:2])  # another rank than the others
        del update["model.layers.1.mlp.gate_proj"]
        write_adapter(update, self.folder / "written", "some/model")
        with warnings.catch_warnings():
            warnings.simplefilter("error")
            warnings.filterwarnings("ignore", category=FutureWarning)  # of transformers about peft
            loaded = PeftModel.from_pretrained(
                model(dtype=torch.float32), str(self.folder / "written")
            ).merge_and_unload()
        for module in update:
            torch.testing.assert_close(
                loaded.get_submodule(module).weight,
                network.get_submodule(module).weight + update[module].dense(),
                rtol=1e-4,
                atol=1e-6,
            )
        again = read_adapter(self.folder / "written")
        self.assertTrue(all(torch.equal(again[module].dense(), update[module].dense()) for module in update))

    def test_attached_is_merged(self):
        network = model()
        update = adapter(network)
        with attached(network, update, 0.5):
            found = first_token_logits(network, prompts())
        for name, factors in update.items():
            network.get_submodule(name).weight += 0.5 * factors.dense()
        torch.testing.assert_close(found, first_token_logits(network, prompts()), rtol=1e-5, atol=1e-5)

    def test_detached_again_even_after_an_error(self):
        network = model()
        expected = first_token_logits(network, prompts())
        with self.assertRaises(ZeroDivisionError), attached(network, adapter(network)):
            raise ZeroDivisionError
        with (
            self.assertRaisesRegex(UserError, "no module model.nowhere"),
            attached(network, {**adapter(network), "model.nowhere": adapter(network)["model.layers.0.mlp.up_proj"]}),
        ):
            self.fail("attached")
        self.assertTrue(torch.equal(first_token_logits(network, prompts()), expected))

    def test_compressed_is_the_closest(self):
        draws = torch.Generator().manual_seed(1)
        factors = Factors(
            torch.randn(20, 6, generator=draws, dtype=torch.float64),
            torch.randn(6, 30, generator=draws, dtype=torch.float64),
        )
        u, s, vt = torch.linalg.svd(factors.dense())
        for rank in (1, 3, 6, 9):
            found = compressed(factors, rank)
            self.assertEqual(found.rank, min(rank, 6))
            torch.testing.assert_close(found.dense(), (u[:, :rank][:, :20] * s[:rank]) @ vt[: min(rank, 20)])
        self.assertEqual(compressed(Factors(factors.left[:, [0, 0, 1]], factors.right[[0, 0, 1]]), 3).rank, 2)
        torch.testing.assert_close(factors.norm(), factors.dense().norm())

    def test_refused(self):
        for options, what in (
            (dict(use_dora=True), "no plain LoRA"),
            (dict(modules_to_save=["lm_head"]), "no plain LoRA"),
            (dict(bias="all"), "no plain LoRA"),
        ):
            with self.subTest(options=options), self.assertRaisesRegex(UserError, what):
                self.trained(target_modules=["q_proj"], **options)
                read_adapter(self.folder / "peft")
        with self.assertRaisesRegex(UserError, "adapter_model.safetensors"):
            read_adapter(self.folder)


if __name__ == "__main__":
    unittest.main()
