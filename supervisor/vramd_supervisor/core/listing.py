"""Which models there are, and under which ids. Pure: `discovery` has read the files."""

from collections import Counter
from collections.abc import Mapping
from pathlib import PurePath

from vramd_proto.v1.reasons import Reason

from .catalog import LoadOptions, Model, ModelFile, Problem, Simulation
from .config import Config, ModelConfig
from .line import Priority


def name_files(files: Mapping[str, tuple[str, ModelFile]]) -> dict[str, ModelFile]:
    """Ids for files, given by path with the name each would like to have.

    Those that would share an id take the name of their folder before it, and of that one's folder, until they differ.
    """
    depths = dict.fromkeys(files, 0)
    while True:
        ids = {path: _id(path, base, depths[path]) for path, (base, _) in files.items()}
        uses = Counter(ids.values())
        clashing = [path for path, id_ in ids.items() if uses[id_] > 1]
        if not clashing:
            return {ids[path]: file for path, (_, file) in sorted(files.items(), key=lambda item: ids[item[0]])}
        for path in clashing:
            depths[path] += 1


def _id(path: str, base: str, depth: int) -> str:
    """Past the root the file's whole path is the id: that is its own for certain."""
    folders = PurePath(path).parent.parts[1:]
    return "/".join((*folders[len(folders) - depth :], base)) if depth <= len(folders) else path


def catalogue(config: Config, found: Mapping[str, ModelFile], configured: Mapping[str, ModelFile]) -> dict[str, Model]:
    """Every model by id: the configured ones, and what was found and is not one of them under another name.

    `found` is by id; `configured` has the files of configured models with a path, by the model's id. A found model
    whose id a configured one takes for another file is listed with its folder's name before it.
    """
    models = {id_: _configured(id_, settings, found, configured) for id_, settings in config.models.items()}
    renamed = {file.path for file in configured.values()}
    for id_, file in found.items():
        if file.path in renamed or _is(models.get(id_), file):
            continue
        free = id_
        folders = list(PurePath(file.path).parent.parts[1:])
        while free in models and folders:
            free = f"{folders.pop()}/{free}"
        models.setdefault(free, Model(free, file))
    return dict(sorted(models.items()))


def _is(model: Model | None, file: ModelFile) -> bool:
    return model is not None and model.source == file


def _configured(
    id_: str, settings: ModelConfig, found: Mapping[str, ModelFile], configured: Mapping[str, ModelFile]
) -> Model:
    source: ModelFile | Simulation
    if settings.engine == "simulated":
        source = Simulation(
            settings.memory, settings.load_s, settings.tokens_per_s, settings.manners, settings.allocate
        )
    elif id_ in configured:
        source = configured[id_]
    elif id_ in found:
        source = found[id_]
    else:
        text = "it is configured without a path, and no file of this name is in the folders"
        source = ModelFile("", 0, problem=Problem(Reason.MODEL_FILE_MISSING, text))
    return Model(
        id_,
        source,
        _options(settings),
        pinned=settings.pinned,
        priority=Priority[(settings.priority or "interactive").upper()],
        group=settings.group or "",
        sacrificial=settings.sacrificial,
        preload=settings.preload,
        tasks=settings.tasks,
    )


def _options(settings: ModelConfig) -> LoadOptions:
    return LoadOptions(
        context_tokens=settings.context,
        threads=settings.threads,
        device=settings.device,
        gpu_layers=settings.gpu_layers,
        batch_tokens=settings.batch,
        kv_type=settings.kv_type,
        parallel=settings.parallel,
        keep_alive_s=settings.keep_alive_s,
        ubatch_tokens=settings.ubatch,
        flash_attention=settings.flash_attention,
        swa_full=settings.swa_full,
        outputs=settings.outputs,
        kv_split=settings.kv_split,
        gpu_only=settings.gpu_only,
        least_context_tokens=settings.least_context,
        degrade=settings.degrade,
    )
