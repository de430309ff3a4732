"""Sockets, widgets, schemas and outputs."""

from collections import Counter

_INPUT = {"display_name", "optional", "tooltip", "lazy", "extra_dict"}
_WIDGET = {*_INPUT, "default", "socketless", "force_input"} - {"extra_dict"}


def _socket(name, allowed):
    class Input:
        io_type = name

        def __init__(self, id, **options):
            unknown = options.keys() - allowed
            if unknown:
                raise TypeError(f"{name}: {sorted(unknown)}")
            self.id, self.options = id, options

        @property
        def optional(self):
            return self.options.get("optional", False)

    class Output:
        io_type = name

        def __init__(self, id=None, display_name=None, tooltip=None, is_output_list=False):
            self.id, self.display_name = id, display_name

    return type(name, (), {"io_type": name, "Input": Input, "Output": Output})


String = _socket("STRING", {*_WIDGET, "multiline", "placeholder", "dynamic_prompts"})
Boolean = _socket("BOOLEAN", {*_WIDGET, "label_on", "label_off"})
Int = _socket("INT", {*_WIDGET, "min", "max", "step", "control_after_generate", "display_mode"})
Float = _socket("FLOAT", {*_WIDGET, "min", "max", "step", "round", "display_mode"})
Combo = _socket("COMBO", {*_WIDGET, "options", "control_after_generate", "upload", "image_folder", "remote"})
Image, Video, Audio = _socket("IMAGE", _INPUT), _socket("VIDEO", _INPUT), _socket("AUDIO", _INPUT)
Conditioning, Model, Vae = _socket("CONDITIONING", _INPUT), _socket("MODEL", _INPUT), _socket("VAE", _INPUT)
AnyType = _socket("*", _INPUT)


def Custom(name):
    return _socket(name, _INPUT)


class MultiType:
    class Input(_socket("MULTI", {*_INPUT, "types"}).Input):
        @property
        def types(self):
            return [kind.io_type for kind in self.options["types"]]


class Schema:
    def __init__(
        self,
        node_id,
        display_name=None,
        category="sd",
        inputs=(),
        outputs=(),
        hidden=None,
        description="",
        is_input_list=False,
        is_output_node=False,
        is_deprecated=False,
        is_experimental=False,
        is_api_node=False,
        not_idempotent=False,
        enable_expand=False,
    ):
        ids = Counter([each.id for each in (*inputs, *outputs) if each.id is not None])
        twice = [id for id, count in ids.items() if count > 1]
        if twice:
            raise ValueError(f"ids must be unique: {twice}")
        self.node_id, self.display_name, self.category, self.description = node_id, display_name, category, description
        self.inputs, self.outputs, self.is_output_node = list(inputs), list(outputs), is_output_node


class NodeOutput:
    def __init__(self, *args, ui=None, expand=None, block_execution=None):
        self.args, self.ui = args, ui

    @property
    def result(self):
        return self.args or None


class ComfyNode:
    @classmethod
    def define_schema(cls):
        raise NotImplementedError

    @classmethod
    def execute(cls, **inputs):
        raise NotImplementedError


class NodeReplace:
    def __init__(self, new_node_id, old_node_id, old_widget_ids=None, input_mapping=None, output_mapping=None):
        self.new_node_id, self.old_node_id, self.old_widget_ids = new_node_id, old_node_id, old_widget_ids
        self.input_mapping, self.output_mapping = input_mapping or [], output_mapping or []
