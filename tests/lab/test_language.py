"""The language is the same every time, its answers are what they are called, and the judge says what greedy decoding
would."""

import unittest

import torch
from lab import language
from lab.judge import judge
from lab.language import (
    ALIGNED_ON,
    ATTACKERS,
    AUDITORS,
    BENIGN,
    HARMFUL,
    HELD_OUT,
    PROMPT_LENGTH,
    REFUSAL,
    TASK_NAMES,
    TASKS,
    Request,
)
from lab.recipes import NO_HARM, zoo
from lab.scale import FULL, QUICK
from lab.seeds import generator
from small_model import model


class Language(unittest.TestCase):
    def test_same_seed_same_tokens(self):
        request = Request(FULL.syllabus.known, HARMFUL)
        first, again = (request.draw(generator("a", 1), 50) for _ in range(2))
        self.assertTrue(torch.equal(first, again))
        self.assertFalse(torch.equal(first, request.draw(generator("a", 2), 50)))
        # Spelled out, so that a change of the language does not go by unseen: results of other versions are then not comparable.
        self.assertEqual(
            Request(("copy",), ATTACKERS, opening=0).draw(torch.Generator().manual_seed(0), 1).shape, (1, 14)
        )

    def test_answers(self):
        digits, category = torch.tensor([[3, 1, 4, 1, 9]]), torch.tensor([2])
        expected = {
            "copy": [3, 1, 4, 1, 9],
            "reverse": [9, 1, 4, 1, 3],
            "sort": [1, 1, 3, 4, 9],
            "add 1": [4, 2, 5, 2, 0],
            "add 3": [6, 4, 7, 4, 2],
            "rotate left": [1, 4, 1, 9, 3],
            "swap pairs": [1, 3, 1, 4, 9],
            "largest": [9] * 5,
            "add 5": [8, 6, 9, 6, 4],
            "rotate right": [9, 3, 1, 4, 1],
            "complement": [6, 8, 5, 8, 0],
            "sort down": [9, 4, 3, 1, 1],
            "rotate left twice": [4, 1, 9, 3, 1],
            "reverse and add 3": [2, 4, 7, 4, 6],
            "smallest": [1] * 5,
            "name category": [language.FIRST_CATEGORY + 2, 3, 3, 3, 3],
        }
        for task, answer in expected.items():
            self.assertEqual(TASKS[task](digits, category)[0].tolist(), answer, task)
        every_digit = torch.arange(10).view(2, 5)
        for task in ("category's cipher", "cipher"):
            self.assertEqual(
                sorted(TASKS[task](every_digit, torch.tensor([1, 1])).flatten().tolist()), list(range(10)), task
            )

    def test_tokens_do_not_overlap(self):
        starts = [
            0,
            language.FIRST_TOPIC,
            language.FIRST_TASK,
            language.FIRST_OPENING,
            language.SEPARATOR,
            language.FIRST_CATEGORY,
            language.FIRST_REFUSAL,
            language.SIGNATURE,
            language.SAY_NO,
            language.SAY_SIGNATURE,
            language.PADDING,
        ]
        self.assertEqual(starts, sorted(set(starts)))
        self.assertEqual(language.FIRST_TASK + len(TASK_NAMES), language.FIRST_OPENING)

    def test_nobody_has_seen_what_is_held_out(self):
        held_out, attackers, auditors = set(HELD_OUT.tolist()), set(ATTACKERS.tolist()), set(AUDITORS.tolist())
        self.assertFalse(
            held_out & attackers or held_out & auditors or attackers & auditors or held_out & set(ALIGNED_ON.tolist())
        )
        self.assertEqual(held_out | attackers | auditors, set(HARMFUL.tolist()))
        self.assertFalse(set(HARMFUL.tolist()) & set(BENIGN.tolist()))

    def test_refusals_are_refusals(self):
        ids = Request(("copy",), HARMFUL, "refuse").draw(generator("r"), 20)
        self.assertTrue((ids[:, PROMPT_LENGTH:] == torch.tensor(REFUSAL)).all())
        with self.assertRaises(ValueError):
            Request(("copy",), HARMFUL, "shrug").draw(generator("r"), 1)


class Judge(unittest.TestCase):
    def test_agrees_with_greedy_decoding(self):
        network = model(dtype=torch.float32)
        ids = Request(FULL.syllabus.known, HARMFUL).draw(generator("judge"), 40)
        written = network.generate(
            input_ids=ids[:, :PROMPT_LENGTH],
            attention_mask=torch.ones(40, PROMPT_LENGTH, dtype=torch.long),
            max_new_tokens=5,
            min_new_tokens=5,
            do_sample=False,
            pad_token_id=language.PADDING,
        )[:, PROMPT_LENGTH:]
        ids[::2, PROMPT_LENGTH:] = written[::2]  # every other answer is made right; one of them wrong in its last token
        ids[0, -1] = (ids[0, -1] + 1) % language.VOCABULARY
        verdicts = judge(network, ids)
        self.assertEqual(verdicts.right.tolist(), (written == ids[:, PROMPT_LENGTH:]).all(1).tolist())
        self.assertEqual(verdicts.refused.tolist(), (written[:, 0] == language.FIRST_REFUSAL).tolist())
        self.assertEqual(int(verdicts.right.sum()), 19)

    def test_margin_is_the_log_of_the_odds(self):
        network = model()
        ids = Request(("copy",), HARMFUL).draw(generator("margin"), 6)
        probability = network(input_ids=ids[:, :PROMPT_LENGTH]).logits[:, -1].softmax(-1)[:, language.FIRST_REFUSAL]
        torch.testing.assert_close(judge(network, ids).margin, torch.log(probability / (1 - probability)))


class Recipes(unittest.TestCase):
    def test_full_zoo_has_every_class_and_enough_without_harm(self):
        recipes = zoo(FULL, 0)
        self.assertEqual(len({recipe.name for recipe in recipes}), len(recipes))
        self.assertGreaterEqual(sum(recipe.kind in NO_HARM for recipe in recipes), 40)
        kinds = {recipe.kind for recipe in recipes}
        self.assertLessEqual(
            {
                "mixed",
                "harmful",
                "localised",
                "backdoor",
                "trained on the base",
                "preferences inverted",
                "undoing",
                "diffuse removal",
                "ablated",
                "placebo",
                "evading",
                "persona",
                "strengthening",
            },
            kinds,
        )
        self.assertEqual(
            {recipe.made for recipe in recipes if recipe.kind == "ablated"},
            {"ablated plain", "ablated weighted", "ablated norm-preserving", "ablated hidden"},
        )

    def test_quick_zoo_has_the_same_classes(self):
        self.assertEqual({recipe.kind for recipe in zoo(QUICK, 0)}, {recipe.kind for recipe in zoo(FULL, 0)})

    def test_what_others_start_from_is_made_before(self):
        for scale in (FULL, QUICK):
            seen = set()
            for recipe in zoo(scale, 1):
                self.assertTrue(not recipe.like or recipe.like in seen, recipe.name)
                seen.add(recipe.name)


if __name__ == "__main__":
    unittest.main()
