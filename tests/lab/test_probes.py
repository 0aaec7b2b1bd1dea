"""Gradients against finite differences, at the weights and half way to an adapter; directions on disk; the command as
users run it."""

import json
import tempfile
import unittest
from pathlib import Path

import torch
import transformers
from commands import Done, run, run_alone
from probe.__main__ import main
from probe.adapters import attached, read_adapter
from probe.directions import DirectionWriter, read_direction, shards
from probe.errors import UserError
from probe.gradients import gradient, squared_norm
from probe.making import DirectionMaker, leading_part, leading_triplets
from probe.models import checkpoint_activations, groups, linear_modules, share_covered
from probe.objectives import compliance_by_odds, compliance_by_response, refusal_log_odds, response_log_likelihood
from safetensors.torch import load_file
from small_model import REFUSALS, adapter, model, prompts

OBJECTIVES = {"odds": compliance_by_odds(REFUSALS), "response": compliance_by_response()}


class Objectives(unittest.TestCase):
    def test_padding_changes_nothing(self):
        network, asked = model(), prompts()
        for measure in (
            lambda part: refusal_log_odds(network, part, REFUSALS),
            lambda part: response_log_likelihood(network, part),
        ):
            together, alone = measure(asked), torch.cat([measure([prompt]) for prompt in asked])
            torch.testing.assert_close(together, alone, rtol=1e-5, atol=1e-5)

    def test_odds_by_definition(self):
        network, asked = model(), prompts((6, 6))
        probability = (
            network(input_ids=torch.tensor([prompt.ids for prompt in asked]))
            .logits[:, -1]
            .softmax(-1)[:, list(REFUSALS)]
            .sum(1)
        )
        torch.testing.assert_close(
            refusal_log_odds(network, asked, REFUSALS).double(),
            torch.log(probability / (1 - probability)),
            rtol=1e-4,
            atol=1e-5,
        )

    def test_response_by_definition(self):
        network, asked = model(), prompts((5,))
        (prompt,) = asked
        logits = network(input_ids=torch.tensor([prompt.ids + prompt.response])).logits[0].log_softmax(-1)
        expected = torch.stack(
            [logits[len(prompt.ids) - 1 + place, token] for place, token in enumerate(prompt.response)]
        ).mean()
        torch.testing.assert_close(response_log_likelihood(network, asked)[0].double(), expected, rtol=1e-5, atol=1e-5)


class Gradients(unittest.TestCase):
    def test_against_finite_differences(self):
        asked, draws, step = prompts(), torch.Generator().manual_seed(2), 1e-2
        for what, objective in OBJECTIVES.items():
            for midpoint in (0.0, 0.5):
                network = model()
                update = adapter(network)
                with attached(network, update, midpoint):
                    found = gradient(network, list(linear_modules(network)), objective, asked, batch=2)
                    for name in (
                        "model.layers.0.self_attn.q_proj",
                        "model.layers.1.mlp.down_proj",
                        "model.layers.0.self_attn.v_proj",
                    ):
                        weight = network.get_submodule(name).weight
                        along = torch.randn(weight.shape, generator=draws, dtype=weight.dtype)
                        along /= along.norm()
                        values = []
                        with torch.no_grad():
                            for sign in (1, -1):
                                weight += sign * step * along
                                values.append(float(objective(network, asked)) / len(asked))
                                weight -= sign * step * along
                        slope = (values[0] - values[1]) / (2 * step)
                        self.assertAlmostEqual(
                            float((found[name].double() * along).sum()),
                            slope,
                            delta=2e-3 * max(1e-1, float(found[name].norm())),
                            msg=f"{what} {midpoint} {name}",
                        )

    def test_groups_and_batches_change_nothing(self):
        network, asked = model(), prompts()
        names = list(linear_modules(network))
        whole = gradient(network, names, OBJECTIVES["odds"], asked, batch=5)
        split = list(groups(linear_modules(network), memory=4 * 16 * 24 * 2))
        self.assertGreater(len(split), 3)
        self.assertEqual([name for group in split for name in group], names)
        for group in split:
            part = gradient(network, group, OBJECTIVES["odds"], asked, batch=2)
            for name in group:
                torch.testing.assert_close(part[name], whole[name], rtol=1e-4, atol=1e-6)

    def test_checkpointed_activations_change_nothing(self):
        network, asked = model(), prompts()
        names = list(linear_modules(network))
        expected = gradient(network, names, OBJECTIVES["response"], asked, batch=5)
        checkpoint_activations(network)
        found = gradient(network, names, OBJECTIVES["response"], asked, batch=5)
        for name in names:
            torch.testing.assert_close(found[name], expected[name], rtol=1e-5, atol=1e-7)

    def test_half_precision_adds_up_in_float32(self):
        network = model(dtype=torch.bfloat16)
        asked = prompts() * 32
        many = gradient(network, ["model.layers.0.mlp.up_proj"], OBJECTIVES["odds"], asked, batch=1)[
            "model.layers.0.mlp.up_proj"
        ]
        few = gradient(network, ["model.layers.0.mlp.up_proj"], OBJECTIVES["odds"], asked[:5], batch=1)[
            "model.layers.0.mlp.up_proj"
        ]
        self.assertEqual(many.dtype, torch.float32)
        # The same five prompts 32 times over, each a 32nd: a power of two changes no rounding of half precision, on any
        # processor, so what is left is that of the sum.
        self.assertLess(float((many - few).norm() / few.norm()), 1e-5)

    def test_model_is_left_as_it_was(self):
        network = model()
        before = {name: weight.clone() for name, weight in network.state_dict().items()}
        gradient(network, list(linear_modules(network)), OBJECTIVES["odds"], prompts(), batch=2)
        self.assertTrue(all(torch.equal(weight, before[name]) for name, weight in network.state_dict().items()))
        self.assertFalse(
            any(parameter.requires_grad or parameter.grad is not None for parameter in network.parameters())
        )


class Architectures(unittest.TestCase):
    """Transposed weights, fused projections, tied heads in half precision, stacked experts."""

    def test_each(self):
        small = dict(
            vocab_size=96,
            hidden_size=16,
            intermediate_size=24,
            num_hidden_layers=2,
            num_attention_heads=2,
            num_key_value_heads=1,
        )
        configurations = {
            "gpt2": (
                transformers.GPT2Config(vocab_size=96, n_positions=64, n_embd=16, n_layer=2, n_head=2),
                torch.float32,
            ),
            "phi3": (transformers.Phi3Config(**{**small, "num_key_value_heads": 2}, pad_token_id=0), torch.float32),
            "qwen2": (transformers.Qwen2Config(**small, tie_word_embeddings=True), torch.bfloat16),
            "mixtral": (transformers.MixtralConfig(**small, num_local_experts=2), torch.float32),
        }
        asked, objective = prompts((5, 7, 7, 4)), OBJECTIVES["odds"]
        for name, (configuration, dtype) in configurations.items():
            with self.subTest(name):
                torch.manual_seed(0)
                network = (
                    transformers.AutoModelForCausalLM.from_config(configuration).to(dtype).eval().requires_grad_(False)
                )
                alone = torch.cat([refusal_log_odds(network, [prompt], REFUSALS) for prompt in asked])
                torch.testing.assert_close(
                    refusal_log_odds(network, asked, REFUSALS),
                    alone,
                    rtol=1e-2 if dtype == torch.bfloat16 else 1e-5,
                    atol=1e-4,
                )
                direction = gradient(network, list(linear_modules(network)), objective, asked, batch=2)
                before = float(objective(network, asked))
                # As an adapter it fits the modules whichever way they are stored, and more of the objective lies along it.
                step = {module: factors.scaled(0.1) for module, factors in leading_part(network, direction, 4).items()}
                with attached(network, step):
                    self.assertGreater(float(objective(network, asked)), before)
                self.assertGreater(share_covered(network), 0.15 if name == "mixtral" else 0.7)


class Directions(unittest.TestCase):
    def setUp(self):
        self.folder = Path(self.enterContext(tempfile.TemporaryDirectory()))
        self.network = model(dtype=torch.float32)
        self.maker = DirectionMaker(self.network, prompts(), batch=2, group_memory=4 * 16 * 24 * 2, model_config=None)

    def test_half_is_the_sum_of_unit_gradients(self):
        midpoints = {"a": adapter(self.network, seed=1), "b": adapter(self.network, seed=2)}
        self.maker.write_half(OBJECTIVES["odds"], midpoints, self.folder / "half", {}, self.folder / "parts")
        expected = {name: 0 for name in linear_modules(self.network)}
        for midpoint in midpoints.values():
            with attached(self.network, midpoint, 0.5):
                part = gradient(self.network, list(expected), OBJECTIVES["odds"], prompts(), batch=2)
            length = squared_norm(part) ** 0.5
            expected = {name: value + part[name] / length for name, value in expected.items()}
        found = read_direction(self.folder / "half")
        self.assertEqual(set(found), set(expected))
        for name, value in expected.items():
            torch.testing.assert_close(found[name], value, rtol=1e-4, atol=1e-6)

    def test_sharded_like_a_checkpoint(self):
        self.maker.write_gradient(OBJECTIVES["odds"], self.folder / "odds", {"kind": "odds"})
        files = list(shards(self.folder / "odds"))
        self.assertGreater(len(files), 1)
        index = json.loads((self.folder / "odds" / "model.safetensors.index.json").read_text())["weight_map"]
        self.assertEqual(set(index), {f"{name}.weight" for name in linear_modules(self.network)})
        for tensor, file in index.items():
            self.assertIn(tensor, load_file(self.folder / "odds" / file))
        weights = self.network.state_dict()
        self.assertTrue(
            all(
                value.shape == weights[f"{name}.weight"].shape
                for name, value in read_direction(self.folder / "odds").items()
            )
        )

    def test_goes_on_where_it_was(self):
        made = []

        def part(number: int):
            made.append(number)
            if number == 1 and len(made) < 3:
                raise KeyboardInterrupt
            return {f"m{number}": torch.full((2, 2), float(number))}

        for attempt in range(2):
            writer = DirectionWriter(self.folder / "d", {"seed": 1}, 3, None)
            try:
                for number in range(3):
                    writer.write(number, lambda number=number: part(number))
            except KeyboardInterrupt:
                self.assertEqual(attempt, 0)
                self.assertFalse((self.folder / "d").exists())
        writer.finish({})
        self.assertEqual(made, [0, 1, 1, 2])
        self.assertEqual(
            {name: float(value[0, 0]) for name, value in read_direction(self.folder / "d").items()},
            {"m0": 0, "m1": 1, "m2": 2},
        )
        with self.assertRaisesRegex(UserError, "there already"):
            DirectionWriter(self.folder / "d", {"seed": 1}, 3, None)

    def test_a_part_of_another_making_is_not_used(self):
        DirectionWriter(self.folder / "d", {"seed": 1}, 2, None).write(0, lambda: {"m": torch.zeros(1, 1)})
        DirectionWriter(self.folder / "d", {"seed": 2}, 2, None).write(0, lambda: {"m": torch.ones(1, 1)})
        self.assertEqual(
            float(load_file(self.folder / ".d.partial" / "model-00001-of-00002.safetensors")["m.weight"]), 1.0
        )

    def test_leading_triplets_of_large_matrices(self):
        draws = torch.Generator().manual_seed(0)
        left, right = (torch.linalg.qr(torch.randn(600, 3, generator=draws)).Q for _ in range(2))
        matrix = (left * torch.tensor([9.0, 4.0, 2.0])) @ right.T
        u, s, vt = leading_triplets(matrix, 2)
        torch.testing.assert_close(s, torch.tensor([9.0, 4.0]), rtol=1e-4, atol=1e-4)
        torch.testing.assert_close(
            (u * s) @ vt, (left[:, :2] * torch.tensor([9.0, 4.0])) @ right[:, :2].T, rtol=1e-3, atol=1e-4
        )


class Command(unittest.TestCase):
    """jobs/probe.sh's program, on a model without a tokenizer."""

    def setUp(self):
        self.folder = Path(self.enterContext(tempfile.TemporaryDirectory()))
        model(dtype=torch.float32).save_pretrained(self.folder / "model")
        lines = [{"refusal_ids": [[token] for token in REFUSALS]}]
        lines += [
            {"input_ids": list(prompt.ids), "response_ids": list(prompt.response)}
            for prompt in prompts((5, 7, 6, 5, 8, 9))
        ]
        (self.folder / "prompts.jsonl").write_text("\n".join(map(json.dumps, lines)))

    def probe(self, *options: str, expect: int = 0, output: str = "out", alone: bool = False) -> Done:
        common = ["--model", "model", "--prompts", "prompts.jsonl", "--output", output, "--device", "cpu", "--threads", "1"]
        if alone:
            return run_alone("probe", self.folder, [*common, *options])
        return run(main, self.folder, [*common, *options], expect)

    def test_every_kind(self):
        self.probe("--kind", "odds", output="odds")
        self.probe("--kind", "gradient", "--group-memory", "4KiB", output="gradient")
        self.probe("--kind", "half", "--steps", "2", output="half")
        self.probe("--kind", "red-team", "--steps", "2", "--rank", "3", output="red-team")
        self.probe("--kind", "odds", "--rank", "2", output="odds-adapter")
        self.probe("--kind", "half", "--adapter", "red-team", "--adapter", "odds-adapter", output="half-given")
        self.assertEqual(
            sorted(path.name for path in self.folder.iterdir()),  # nothing else is left
            sorted(["model", "prompts.jsonl", "odds", "gradient", "half", "red-team", "odds-adapter", "half-given"]),
        )
        for kind in ("odds", "gradient", "half"):
            self.assertTrue((self.folder / kind / "config.json").is_file())
            making = json.loads((self.folder / kind / "probe.json").read_text())
            self.assertEqual((making["kind"], making["prompts"], making["refusal_tokens"]), (kind, 6, list(REFUSALS)))
            self.assertIn("seconds", making)
        self.assertEqual(next(iter(read_adapter(self.folder / "red-team").values())).rank, 3)
        # The adapter of a direction is its leading part.
        dense = read_direction(self.folder / "odds")
        expected = leading_part(model(dtype=torch.float32), dense, 2)
        for name, factors in read_adapter(self.folder / "odds-adapter").items():
            torch.testing.assert_close(factors.dense(), expected[name].dense(), rtol=1e-4, atol=1e-6)

    def test_same_seed_same_probe(self):
        self.probe("--kind", "half", "--steps", "2", output="a")
        self.probe("--kind", "half", "--steps", "2", output="b", alone=True)
        first, second = read_direction(self.folder / "a"), read_direction(self.folder / "b")
        self.assertTrue(all(torch.equal(first[name], second[name]) for name in first))

    def test_mistakes_are_said_in_a_line(self):
        (self.folder / "no-responses.jsonl").write_text('{"refusal_ids": [[5]]}\n{"input_ids": [1, 2]}\n')
        self.assertEqual(
            self.probe("--kind", "gradient", "--prompts", "no-responses.jsonl", expect=3).stderr.strip(),
            "probe.sh: 1 of 1 prompts have no response, which kind gradient needs; kind odds needs none",
        )
        (self.folder / "out").mkdir()
        self.assertIn("out is there already", self.probe("--kind", "odds", expect=3).stderr)
        self.assertIn(
            "no config.json", self.probe("--kind", "odds", "--model", ".", "--output", "new", expect=3).stderr
        )
        self.probe("--kind", "odds", "--adapter", "x", expect=2)


if __name__ == "__main__":
    unittest.main()
