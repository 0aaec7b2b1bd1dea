"""What PEFT itself makes of an adapter: merged weights, and the dense float64 metrics that follow from them.

Nothing here knows about winnow. An update dW is the difference of PEFT's merged weight and the base weight, never s*B*A.
"""

import io
import logging
import os
import warnings
from pathlib import Path

os.environ.setdefault("HF_HUB_OFFLINE", "1")
os.environ.setdefault("TRANSFORMERS_OFFLINE", "1")
os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")

import numpy
import torch
from peft import PeftModel, get_peft_model
from peft.tuners.lora import LoraLayer
from safetensors import safe_open
from transformers import AutoModelForCausalLM
from transformers.pytorch_utils import Conv1D
from transformers.utils import logging as transformers_logging

torch.set_num_threads(1)  # the order of sums, and with it every bit, must not depend on the machine's cores
transformers_logging.disable_progress_bar()

SUBSPACE_RANK = 6
METRICS = ("distance", "rms_distance", "update_norm", "projected_norm", "cosine", "alignment_cosine",
           "alignment_removed", "subspace_energy")


class Messages:
    """Collects every Python warning and every log record of level WARNING or above while it is entered.

    Left out are deprecations: what one library tells another's authors, the same whatever the adapter is.
    """

    LOGGERS = ("", "peft", "transformers", "huggingface_hub", "accelerate", "safetensors", "torch")

    def __enter__(self):
        self.texts = []
        self._catch = warnings.catch_warnings(record=True)
        self._caught = self._catch.__enter__()
        warnings.simplefilter("always")
        self._handler = logging.Handler(logging.WARNING)
        self._handler.emit = lambda record: self.texts.append(f"{record.name}: {record.getMessage()}")
        for name in self.LOGGERS:
            logging.getLogger(name).addHandler(self._handler)
        return self

    def __exit__(self, *exception):
        for name in self.LOGGERS:
            logging.getLogger(name).removeHandler(self._handler)
        self._catch.__exit__(*exception)
        self.texts += [f"{warning.category.__name__}: {warning.message}" for warning in self._caught
                       if not issubclass(warning.category, (FutureWarning, DeprecationWarning))]
        self.texts = list(dict.fromkeys(self.texts))  # a record may reach several of the loggers above
        return False


def load_base(directory, dtype):
    model = AutoModelForCausalLM.from_pretrained(str(directory), dtype=dtype, local_files_only=True)
    model.eval()
    return model


def write_adapter(base, config, directory, **options):
    """What PEFT saves of `config` on the model `base`, with random factors."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of a pattern for a parameter PEFT says that it matches no module
        model = get_peft_model(base, config)
        for weight in (weight for key, weight in model.named_parameters() if "lora_" in key and weight.dim() == 2):
            weight.data = 0.05 * torch.randn(weight.shape)
        model.save_pretrained(directory, **options)


def module_weights(model):
    """{module name: weight} of every module that has a matrix, stored as the model stores it; and {parameter name: block}
    of fused experts, three-dimensional."""
    weights = {name: module.weight.detach().clone() for name, module in model.named_modules()
               if isinstance(getattr(module, "weight", None), torch.Tensor) and module.weight.dim() == 2}
    return weights | {name: parameter.detach().clone() for name, parameter in model.named_parameters()
                      if parameter.dim() == 3 and not name.endswith(".weight")}


def stored_experts(parameter, tensors):
    """How the checkpoint with these tensors names the experts of a parameter: their parts, one below the other, {} for the
    number. The mappings are those of transformers 5."""
    module, leaf = parameter.rsplit(".", 1)
    apart = {"gate_up_proj": [("gate_proj", "up_proj"), ("w1", "w3")], "down_proj": [("down_proj",), ("w2",)]}[leaf]
    for experts in (module, module.replace("mlp.experts", "block_sparse_moe.experts")):
        for parts in apart:
            if f"{experts}.0.{parts[0]}.weight" in tensors:
                return [f"{experts}.{{}}.{part}" for part in parts]
    beside = {"gate_up_proj": "input_linear", "down_proj": "output_linear"}[leaf]  # Granite
    if f"{module.removesuffix('.experts')}.{beside}.weight" in tensors:
        return [f"{module.removesuffix('.experts')}.{{}}.{beside}"]
    return [f"{module}.{{}}.{leaf}"]


def tensors_of(directory):
    names = set()
    for path in Path(directory).glob("*.safetensors"):
        with safe_open(path, "pt") as file:
            names |= set(file.keys())
    return names


def linear(module, weight):
    """The weight as [out, in]: Conv1D stores its transpose."""
    return weight.T if isinstance(module, Conv1D) else weight


class Merged:
    """A base model before and after PEFT merged an adapter into it."""

    def __init__(self, base_directory, adapter_directory, dtype=torch.float64):
        model = load_base(base_directory, dtype)
        self.modules = dict(model.named_modules())
        self.base = module_weights(model)
        with Messages() as messages:
            peft_model = PeftModel.from_pretrained(model, str(adapter_directory), local_files_only=True)
        self.messages = messages.texts
        self.changed_at_load = sorted(self._changed_at_load(peft_model))
        self.lora = {}
        self.factors = {}
        self.parameters = {}  # of wrapped parameters: name, and whether the model multiplies by the transpose
        for name, layer in peft_model.base_model.model.named_modules():
            if isinstance(layer, LoraLayer) and "default" in layer.lora_A:
                self.lora[name] = {"rank": layer.r["default"], "alpha": layer.lora_alpha["default"],
                                   "scale": layer.scaling["default"]}
                self.factors[name] = (layer.lora_A["default"].weight.detach().clone(),
                                      layer.lora_B["default"].weight.detach().clone())
                if hasattr(layer, "parameter_name") and layer.get_param().dim() == 3:
                    module = name.removesuffix(".base_layer")
                    self.parameters[name] = (f"{module}.{layer.parameter_name}",
                                             getattr(layer.get_base_layer(), "is_transposed", False))
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # merging into tied embeddings is warned about; loading is what we watch
            merged = peft_model.merge_and_unload(safe_merge=True)
        self.merged = module_weights(merged)
        self.state = {name: tensor.detach().clone() for name, tensor in merged.state_dict().items()}

    def _changed_at_load(self, peft_model):
        """Modules whose base weight PEFT replaced while loading (PiSSA and its like)."""
        for name, layer in peft_model.base_model.model.named_modules():
            if isinstance(layer, LoraLayer) and name in self.base:
                if not torch.equal(layer.get_base_layer().weight, self.base[name]):
                    yield name

    def experts(self, wrapper, other, tensors):
        """(module, block of `other`, dW) of every expert that a wrapper changes, [out, in] each, named as the checkpoint
        does whose tensors these are."""
        parameter, transposed = self.parameters[wrapper]
        parts = stored_experts(parameter, tensors)
        before, after = self.base[parameter].double(), self.merged[parameter].double()
        for expert, (one, update) in enumerate(zip(other[parameter].double(), after - before)):
            one, update = (one.T, update.T) if transposed else (one, update)
            rows = update.shape[0] // len(parts)
            for k, part in enumerate(parts):
                yield part.format(expert), one[k * rows:(k + 1) * rows], update[k * rows:(k + 1) * rows]

    def update(self, name):
        """dW of a module, [out, in], float64."""
        before, after = self.base[name].double(), self.merged[name].double()
        return linear(self.modules[name], after - before)


def span_ablation(left, update, w):
    """max over u in the span of `left` of -cos(u^T dW, u^T W): 1 - cos^2 is the smallest eigenvalue of what is left of
    dW^T u + l*W^T u, for the best l. By a fine grid of log l and a golden section."""
    change, written = left.T @ update, left.T @ w
    root = numpy.linalg.norm(change, axis=1, keepdims=True)  # its rows are orthogonal

    def least(log):
        rest = (change + numpy.exp(log) * written) / root
        return numpy.linalg.eigvalsh(rest @ rest.T)[0]

    middle = numpy.log(numpy.linalg.norm(update) / numpy.linalg.norm(w))
    grid = middle + numpy.linspace(-9, 9, 901)
    values = [least(log) for log in grid]
    best = grid[int(numpy.argmin(values))]
    low, high, ratio = best - 0.02, best + 0.02, (numpy.sqrt(5) - 1) / 2
    for _ in range(50):
        a, b = high - ratio * (high - low), low + ratio * (high - low)
        low, high = (low, b) if least(a) < least(b) else (a, high)
    return float(numpy.sqrt(max(0.0, 1 - least((low + high) / 2))))


def intruder_dimensions(w, update):
    """How many of the 10 leading left singular vectors of W + dW have no |cosine| of 0.5 with one of W's."""
    before, after = (numpy.linalg.svd(matrix, full_matrices=False)[0] for matrix in (w, w + update))
    return int(numpy.sum(numpy.abs(after[:, :10].T @ before).max(axis=1) < 0.5))


def weight_metrics(w, update):
    """What relates dW to the aligned weight W itself, by singular vectors of the dense dW."""
    size, norm = float(numpy.linalg.norm(w)), float(numpy.linalg.norm(update))
    if norm == 0:
        return {"ablation": 0.0, "ablation_singular": 0.0, "weight_cosine": 0.0, "overlap_left": None, "relative_norm": 0.0,
                "overlap_right": None, "intruder_dimensions": 0}
    left, singular, right = numpy.linalg.svd(update, full_matrices=False)
    kept = singular >= 0.01 * norm
    written = left[:, kept].T @ w
    opposed = -numpy.sum(written * right[kept], axis=1) / numpy.linalg.norm(written, axis=1)
    return {
        "ablation": span_ablation(left[:, kept], update, w),
        "ablation_singular": max(0.0, float(opposed.max())),
        "weight_cosine": float(numpy.sum(w * update)) / (size * norm),
        "overlap_left": float(numpy.linalg.norm(w.T @ update)) / (size * norm),
        "relative_norm": norm / size,
        "overlap_right": float(numpy.linalg.norm(update @ w.T)) / (size * norm),
        "intruder_dimensions": intruder_dimensions(w, update),
    }


def line_metrics(update):
    """How the energy of dW is spread over its rows and columns."""
    metrics = {}
    for what, norms in (("row", numpy.linalg.norm(update, axis=1)), ("column", numpy.linalg.norm(update, axis=0))):
        energy, root = float(numpy.sum(norms**2)), numpy.sqrt(norms.size)
        known = energy > 0
        largest = float(numpy.sum(numpy.sort(norms**2)[-8:])) / energy if known and norms.size > 8 else None
        sparsity = float((root - norms.sum() / numpy.sqrt(energy)) / (root - 1)) if known and norms.size > 1 else None
        metrics |= {f"{what}_concentration": largest, f"{what}_sparsity": sparsity}
    return metrics


def dense_metrics(v, update):
    """Section 3 of the method for one module, from V and dW formed densely in float64 ([out, in] numpy arrays)."""
    f = float(numpy.linalg.norm(v))
    norm = float(numpy.linalg.norm(update))
    projected = v @ v.T / f @ update if f > 0 else numpy.zeros_like(update)
    projected_norm = float(numpy.linalg.norm(projected))
    distance = float(numpy.linalg.norm(projected - update))
    inner = float(numpy.sum(v * update))
    cosine = float(numpy.sum(projected * update)) / (projected_norm * norm) if projected_norm * norm > 0 else 0.0
    energy = None
    if f > 0:
        left, singular, _ = numpy.linalg.svd(v, full_matrices=False)
        kept = left[:, :SUBSPACE_RANK][:, singular[:SUBSPACE_RANK] ** 2 >= 1e-6 * singular[0] ** 2]
        energy = float(numpy.linalg.norm(kept.T @ update)) / norm if norm > 0 else 0.0
    return {
        "distance": distance,
        "rms_distance": distance / float(numpy.sqrt(v.size)),
        "update_norm": norm,
        "projected_norm": projected_norm,
        "cosine": cosine,
        "alignment_cosine": inner / (f * norm) if f * norm > 0 else 0.0,
        "alignment_removed": -inner / f**2 if f > 0 else 0.0,
        "subspace_energy": energy,
        "alignment_norm": f,
    }


def all_metrics(v, aligned, update):
    """Of one module, [out, in] each, in float64."""
    v, aligned, update = v.double().numpy(), aligned.double().numpy(), update.double().numpy()
    out_features, in_features = v.shape
    return {"out_features": out_features, "in_features": in_features, **dense_metrics(v, update),
            **weight_metrics(aligned, update), **line_metrics(update)}


def expected_of_adapter(base_directory, aligned_weights, adapter_directory):
    """{module: metrics, rank, alpha, scale} of every LoRA layer that PEFT merges into a matrix, or into the slices of a
    block of experts."""
    merged = Merged(base_directory, adapter_directory)
    modules = {}
    for wrapper in merged.parameters:
        aligned = merged.experts(wrapper, aligned_weights, tensors_of(base_directory))
        base = merged.experts(wrapper, merged.base, tensors_of(base_directory))
        for (name, of_aligned, update), (_, of_base, _) in zip(aligned, base):
            modules[name] = {**merged.lora[wrapper], **all_metrics(of_aligned - of_base, of_aligned, update)}
    for name in sorted(merged.lora):
        if name not in merged.base:
            continue
        layer = merged.modules[name]
        update = merged.update(name)
        aligned = linear(layer, aligned_weights[name])
        # A cross-check only: PEFT's merge against its own factors.
        a, b = merged.factors[name]
        product = merged.lora[name]["scale"] * (b.double() @ a.double())
        error = float((product - update).abs().max())
        if error > 1e-12:
            raise RuntimeError(f"{adapter_directory}: {name}: merged difference is not s*B*A (error {error})")
        v = linear(layer, aligned_weights[name] - merged.base[name])
        modules[name] = {**merged.lora[name], **all_metrics(v, aligned, update)}
    return modules


def fixture_models(root):
    return sorted(path for path in Path(root).iterdir() if (path / "adapters").is_dir())
