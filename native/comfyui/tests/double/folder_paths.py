"""Folders of models."""

import os

models_dir = ""
folder_names_and_paths = {}


def reset(root):
    global models_dir
    models_dir = os.path.join(root, "models")
    folder_names_and_paths.clear()
    for kind in ("loras", "controlnet"):
        os.makedirs(os.path.join(models_dir, kind), exist_ok=True)
        folder_names_and_paths[kind] = [os.path.join(models_dir, kind)]


def add_model_folder_path(folder_name, full_folder_path, is_default=False):
    paths = folder_names_and_paths.setdefault(folder_name, [])
    if full_folder_path not in paths:
        paths.insert(0 if is_default else len(paths), full_folder_path)


def get_folder_paths(folder_name):
    return list(folder_names_and_paths[folder_name])


def get_filename_list(folder_name):
    return sorted(name for folder in folder_names_and_paths[folder_name] for name in os.listdir(folder))


def get_full_path(folder_name, filename):
    for folder in folder_names_and_paths[folder_name]:
        if os.path.isfile(os.path.join(folder, filename)):
            return os.path.join(folder, filename)
    return None
