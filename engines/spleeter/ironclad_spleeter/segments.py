"""How both engines cut a song, and which requests they refuse.

The package puts one frame of zeros before the song, takes frames of 4096 samples every 1024 until the song
has ended, and gives its networks 512 frames at a time, the last ones filled up with zeros. Nothing else
crosses from one segment to the next but the overlap of frames, so a segment is a window and its output is
added to its neighbours'. See `docs/spleeter.md` for the proof.
"""

from ironclad_harness.engine import EngineContext, EngineError, Pass
from ironclad_spleeter.configuration import (
    CHANNELS,
    FRAME,
    LEVELS,
    SAMPLE_RATE_HZ,
    SEGMENT,
    STEP,
    Configuration,
    find_configuration,
)


def segment_samples(frames: int) -> int:
    """Return how many samples `frames` frames of the spectrogram cover."""
    return (frames - 1) * STEP + FRAME


def segment_pass(frames: int) -> Pass:
    """Return the grid of segments of `frames` frames each."""
    return Pass(window=segment_samples(frames), hop=frames * STEP, offset=-FRAME, normalised=False)


def segment_frames(window_s: float | None) -> int:
    """Return the frames of a segment, the package's own or as many as the networks can halve in `window_s`.

    Raises:
        EngineError: ``engine_protocol``: nothing fits into `window_s`.
    """
    if window_s is None:
        return SEGMENT
    block: int = 2**LEVELS
    frames = int(window_s * SAMPLE_RATE_HZ / STEP) // block * block
    if frames < block:
        least_s = block * STEP / SAMPLE_RATE_HZ
        raise EngineError("engine_protocol", f"a window of {window_s:g} s is too short, {least_s:.2f} s is the least")
    return min(frames, SEGMENT)


def check_request(context: EngineContext) -> Configuration:
    """Return the configuration of the model asked for.

    Raises:
        EngineError: ``engine_protocol``: another model, stem, rate or number of channels than there is;
            ``device_unavailable``: anything but the CPU in full precision.
    """
    try:
        configuration = find_configuration(context.model)
    except KeyError as error:
        raise EngineError("engine_protocol", f"spleeter has no model {context.model!r}") from error
    if unknown := [stem for stem in context.stems if stem not in configuration.instruments]:
        names = ", ".join(configuration.instruments)
        raise EngineError("engine_protocol", f"{context.model} makes {names}, not {', '.join(unknown)}")
    if (context.sample_rate_hz, context.channels) != (SAMPLE_RATE_HZ, CHANNELS):
        found = f"{context.channels} channels at {context.sample_rate_hz} Hz"
        raise EngineError("engine_protocol", f"spleeter wants {CHANNELS} channels at {SAMPLE_RATE_HZ} Hz, not {found}")
    if context.device != "cpu" or context.precision != "full":
        asked = f"{context.device} in {context.precision} precision"
        raise EngineError("device_unavailable", f"spleeter computes on the CPU in full precision, not on {asked}")
    return configuration
