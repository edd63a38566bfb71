"""Every field of a run, with the paper's values; other configs are diffs of this one.

Those of the networks and the losses, `config.model` and `config.loss`, stand with their
family: progan_jax/models/progan/options.py.

Values are those of the program that made the paper's results (Karras et al. 2018,
appendix A.1). A table by resolution is a string: a value for all resolutions, then
exceptions, as in "16, 256:14, 512:6, 1024:3".
"""

from dataclasses import asdict

import ml_collections

from progan_jax.models.families import DEFAULT, FAMILIES


def get_config(family: str = DEFAULT) -> ml_collections.ConfigDict:
    """Returns the paper's recipe, without a data set."""
    config = ml_collections.ConfigDict()
    config.family = family  # Of models: the folders of progan_jax/models.
    config.seed = 1000  # Of weights, latents and the order of the images.
    # Networks to start from, "" for none: a run or a snapshot, hf://USER/NAME, or a
    # pickle of the authors'. They begin at schedule.start_resolution.
    config.init_from = ""

    config.data = data = ml_collections.ConfigDict()
    data.name = ""  # "digits" (embedded), or a TFDS set in data_dir, such as "cifar10".
    data.data_dir = ""  # TFDS root; "" is TFDS_DATA_DIR, then ~/tensorflow_datasets.
    data.split = "train"  # Split of the set.
    data.mirror = False  # Flip each image left to right with probability 1/2.
    data.requantise_fade = True  # Round faded reals to 8 bits, as the paper's program.
    data.dequantise = False  # Add noise of one byte's width, U(-0.5, 0.5), to reals.
    data.truncate_labels = False  # Of the set's classes take the first num_classes.
    data.feed = "auto"  # "resident" (on the devices), "streamed", or "auto": by size.
    data.resident_gib = 4.0  # Largest level that "auto" keeps on the devices.
    data.stream_workers = 0  # Processes that read ahead for "streamed"; 0 = threads.
    data.max_memory_mib = 8192  # Largest set that is pyramided in memory.

    # Fields of the networks and the losses, and their meaning: the family's options.py.
    options = FAMILIES[family]
    config.model = ml_collections.ConfigDict(asdict(options.Options()))
    config.loss = ml_collections.ConfigDict(asdict(options.LossOptions()))

    config.optim = optim = ml_collections.ConfigDict()
    optim.beta1 = 0.0  # Adam.
    optim.beta2 = 0.99
    optim.epsilon = 1e-8
    optim.reset_at_fades = True  # Clear moments where a fade begins and ends.
    optim.ema_decay = 0.999  # Of the moving average of G, per update; batch-dependent.
    optim.ema_half_life_kimg = 0.0  # If not 0, replaces ema_decay at every batch size.
    optim.ema_after = "g_step"  # "g_step" or "d_step".
    optim.simultaneous = False  # D and G step at once, on the same fakes.
    optim.d_repeats = 1  # D steps per G step.

    config.schedule = schedule = ml_collections.ConfigDict()
    schedule.start_resolution = 4  # First resolution; model.resolution = no growing.
    schedule.total_kimg = 15000.0  # Length of the run, in thousands of real images.
    schedule.stabilise_kimg = "600"  # Table: training without a fade.
    schedule.fade_kimg = "600"  # Table: fade into a resolution.
    schedule.batch_size = "16"  # Table: images of a step, over all devices.
    schedule.microbatch = "0"  # Table: images a device takes at a time; 0 = all its.
    schedule.g_learning_rate = "0.001"  # Table.
    schedule.d_learning_rate = "0.001"  # Table.
    schedule.rampup_kimg = 40.0  # Rise of the learning rates at the start; 0 = none.
    schedule.quantum_pairs = 1  # (D, G) pairs for which alpha and the rest are held.

    config.train = train = ml_collections.ConfigDict()
    train.tick_kimg = "50, 32:20, 64:10, 128:10, 256:5, 512:2, 1024:1"  # Table.
    train.grid_ticks = 4  # Ticks between sample grids.
    train.grid = "1080p"  # Size of grids: "1080p", "4k", or "COLUMNSxROWS".
    train.grid_by_class = False  # Each row of the grids shows one class.
    train.snapshot_ticks = 40  # Ticks between snapshots of the averaged generator.
    train.snapshot_networks = False  # Snapshots carry G and D, for init_from.
    train.checkpoint_ticks = 4  # Ticks between checkpoints of the whole state.
    train.keep_checkpoints = 3  # Newest checkpoints kept; snapshots are all kept.
    train.max_skipped = 100  # Stop after so many pairs in a row with a skipped update.

    config.eval = evaluate = ml_collections.ConfigDict()
    evaluate.stage_swd_images = 0  # If not 0, images for the SWD at the end of a stage.
    # Of --mode=eval, by commas: swd, ms_ssim, fid, sfid, rfid, kid, is, pr, classifier,
    # modes.
    evaluate.metrics = "swd,ms_ssim"
    evaluate.every_kimg = 0.0  # If not 0, the same while training, so often.
    evaluate.best = ""  # Figure whose best snapshot snapshots/best names; swd_average.
    evaluate.snapshot = ""  # Snapshot to measure; "" measures all, newest first.
    evaluate.num_images = 0  # Images of each kind; 0 = the published number of each.
    evaluate.tap = "2048"  # Layer of Inception for fid, rfid, kid and pr.
    evaluate.resize = "tf1"  # Images come to Inception by "tf1" or "clean".
    evaluate.inception_weights = ""  # File; "" is the cache, then a download.
    evaluate.classifier = ""  # File of tools.train_classifier, without its suffix.

    config.runtime = runtime = ml_collections.ConfigDict()
    runtime.pairs_per_dispatch = 32  # (D, G) pairs that one call may run; not a recipe.
    runtime.compile_ahead = (
        "auto"  # Next stage's steps: "on", "off"; "auto", not on CPU.
    )
    runtime.num_devices = 0  # Devices to use; 0 = all.
    runtime.deterministic = False  # On GPUs: slower kernels, the same bits on a resume.
    runtime.matmul_precision = "default"  # "default", "high" or "highest".
    # A misspelt field in another file is an error, not a new field.
    return config.lock()
