"""All fields of a run, with the paper's values; the other configs override some.

The fields of the networks and the losses, `config.model` and `config.loss`, are defined
by the family of models: see progan_jax/models/progan/options.py.

The values are those of the program that produced the paper's results (Karras et al.
2018, appendix A.1). A table by resolution is a string: a value for all resolutions,
then exceptions, as in "16, 256:14, 512:6, 1024:3".
"""

from dataclasses import asdict

import ml_collections

from progan_jax.models.families import DEFAULT, FAMILIES


def get_config(family: str = DEFAULT) -> ml_collections.ConfigDict:
    """Returns the paper's recipe, without a data set."""
    config = ml_collections.ConfigDict()
    config.family = family  # Family of models: a folder of progan_jax/models.
    config.seed = 1000  # Of weights, latents and the order of the images.
    # Trained networks to start from, "" for none: a run or a snapshot, hf://USER/NAME,
    # or a pickle of the authors'. They start at schedule.start_resolution.
    config.init_from = ""

    config.data = data = ml_collections.ConfigDict()
    data.name = ""  # "digits" (embedded), or a TFDS set in data_dir, such as "cifar10".
    data.data_dir = ""  # TFDS root; "" is TFDS_DATA_DIR, then ~/tensorflow_datasets.
    data.split = "train"  # Split of the set.
    data.mirror = False  # Flip each image left to right with probability 1/2.
    # Changes of all images that D sees: "color,translation,cutout", or some of them.
    data.augment = ""
    data.requantise_fade = True  # Round faded images to 8 bits, as the paper's program.
    data.dequantise = False  # Add uniform noise of one byte's width to real images.
    data.truncate_labels = False  # Use only the set's first num_classes classes.
    data.feed = "auto"  # "resident" (on the devices), "streamed", or "auto": by size.
    data.resident_gib = 4.0  # Largest level that "auto" keeps on the devices.
    data.stream_workers = 0  # Processes that prefetch for "streamed"; 0 = threads.
    data.max_memory_mib = 8192  # Largest set whose pyramid is made in memory.

    # Fields of the networks and the losses: see options.py of the family.
    options = FAMILIES[family]
    config.model = ml_collections.ConfigDict(asdict(options.Options()))
    config.loss = ml_collections.ConfigDict(asdict(options.LossOptions()))

    config.optim = optim = ml_collections.ConfigDict()
    optim.beta1 = 0.0  # Adam.
    optim.beta2 = 0.99
    optim.d_beta2 = 0.0  # If not 0, D's own.
    optim.epsilon = 1e-8
    optim.reset_at_fades = True  # Reset moments where a fade begins and ends.
    optim.ema_decay = 0.999  # Decay of the moving average of G, per update.
    optim.ema_half_life_kimg = 0.0  # If not 0, replaces ema_decay at any batch size.
    # If not 0, the half-life is at most this share of the images shown.
    optim.ema_rampup = 0.0
    optim.ema_after = "g_step"  # Update the average after "g_step" or "d_step".
    optim.simultaneous = False  # Update D and G at once, on the same fakes.
    optim.d_repeats = 1  # D steps per G step.

    config.schedule = schedule = ml_collections.ConfigDict()
    schedule.start_resolution = 4  # First resolution; model.resolution = no growth.
    schedule.total_kimg = 15000.0  # Length of the run, in thousands of real images.
    schedule.stabilise_kimg = "600"  # Table: length of training without a fade.
    schedule.fade_kimg = "600"  # Table: length of the fade into a resolution.
    schedule.batch_size = "16"  # Table: images per step, over all devices.
    schedule.microbatch = "0"  # Table: images per device at a time; 0 = all of them.
    schedule.g_learning_rate = "0.001"  # Table.
    schedule.d_learning_rate = "0.001"  # Table.
    schedule.rampup_kimg = 40.0  # Warm-up of the learning rates; 0 = none.
    schedule.quantum_pairs = 1  # (D, G) pairs between updates of alpha and rates.
    # If not 0, a stage also ends after so many evaluations without a better eval.best,
    # of families whose stages restart. A stage with stabilise_kimg = 0 then ends thus.
    schedule.plateau_evaluations = 0

    config.train = train = ml_collections.ConfigDict()
    train.tick_kimg = "50, 32:20, 64:10, 128:10, 256:5, 512:2, 1024:1"  # Table.
    train.grid_ticks = 4  # Ticks between sample grids.
    train.grid = "1080p"  # Size of grids: "1080p", "4k", or "COLUMNSxROWS".
    train.grid_by_class = False  # Show one class per row of a grid.
    train.snapshot_ticks = 40  # Ticks between snapshots of the averaged generator.
    train.snapshot_networks = False  # Store G and D in snapshots, for init_from.
    train.checkpoint_ticks = 4  # Ticks between checkpoints of the complete state.
    train.keep_checkpoints = 3  # Number of checkpoints kept; all snapshots are kept.
    # Where rows go besides stats.jsonl: "tensorboard" (if it is installed), "wandb".
    train.writers = "tensorboard"
    # USER/NAME of a repository of the Hugging Face Hub that gets every new best
    # snapshot, and the Hub's identifier of the licence, such as "cc-by-4.0".
    train.push_to_hub = ""
    train.hub_licence = ""
    train.max_skipped = (
        100  # Stop after this many consecutive pairs with skipped updates.
    )

    config.eval = evaluate = ml_collections.ConfigDict()
    evaluate.stage_swd_images = 0  # If not 0, images for the SWD at the end of a stage.
    # Metrics of --mode=eval, separated by commas; docs/metrics.md has their names.
    evaluate.metrics = "swd,ms_ssim"
    evaluate.every_kimg = 0.0  # If not 0, measure them this often in training.
    evaluate.best = ""  # Metric that selects snapshots/best, such as swd_average.
    evaluate.snapshot = ""  # Snapshot to measure; "" = all, newest first.
    evaluate.num_images = 0  # Images per metric; 0 = the published number of each.
    evaluate.tap = "2048"  # Layer of Inception for fid, rfid, kid and pr.
    evaluate.resize = "tf1"  # How images are resized for Inception: "tf1" or "clean".
    evaluate.inception_weights = ""  # File; "" = from the cache, else a download.
    evaluate.truncation_psi = "1"  # Of w, as in "1,0.7,0.5"; 1 = none.
    evaluate.lpips_weights = ""  # File of tools.convert_lpips; "" = from the cache.
    evaluate.vgg16_weights = ""  # torchvision's file, for pr_vgg16.
    evaluate.dinov2_weights = ""  # timm's safetensors, for fd_dinov2.
    evaluate.attributes = ""  # Folder of classifiers of attributes, for ls.
    evaluate.classifier = ""  # File of tools.train_classifier, without its suffix.

    config.runtime = runtime = ml_collections.ConfigDict()
    runtime.pairs_per_dispatch = 32  # Most (D, G) pairs per call; no effect on results.
    runtime.compile_ahead = (
        "auto"  # The next stage's steps: "on", "off", or "auto" = "on" except on CPUs.
    )
    runtime.num_devices = 0  # Devices to use; 0 = all.
    runtime.deterministic = False  # On GPUs: slower kernels, the same bits on a resume.
    runtime.matmul_precision = "default"  # "default", "high" or "highest".
    # Misspelling a field in another file is then an error and adds no field.
    return config.lock()
