"""X2I in ComfyUI: text, pictures, videos and sounds to conditioning for FLUX, or to pictures."""

if __package__:  # pytest imports the folder's file without a package
    from .nodes import comfy_entrypoint

    WEB_DIRECTORY = "./web"

    __all__ = ["WEB_DIRECTORY", "comfy_entrypoint"]
