"""Rows about what a file holds: lengths, rates, samples, foreign types, containers; 1 to 31, 61, 63 and 64."""

from functools import partial
from pathlib import Path

from ironclad_assets.errors import ErrorCode
from tests import synth
from tests.bad_inputs import makers
from tests.bad_inputs.table import Case, Row

_NOT_AUDIO = ErrorCode.NOT_AUDIO
_API = "an answer to a request that is still being sent needs the HTTP API"

_TRACKS = partial(makers.matroska, packets=100, frames=60)


def _text(content: bytes) -> partial[Path]:
    return partial(makers.write_bytes, content=content)


def _foreign(head: bytes) -> partial[Path]:
    return partial(makers.mp3_behind, head)


LENGTHS = (
    Row(1, "no bytes at all", "refused", 422,
        (Case("empty.wav", synth.zero_bytes, ErrorCode.EMPTY_FILE, "0 bytes"),)),
    Row(2, "a header without samples", "refused", 422,
        (Case("header only.wav", synth.header_only_wav, ErrorCode.NO_AUDIO, "no samples"),)),
    Row(3, "one sample", "refused: shorter than half a second", 422,
        (Case("one sample.wav", partial(synth.odd_wav, frames=1), ErrorCode.TOO_SHORT, "0.000 s long"),)),
    Row(4, "three minutes of silence", "accepted and flagged as silent", None,
        (Case("silence.flac", lambda path: synth.write_flac(path, synth.silence(180.0)), silent=True),),
        proof=("test_silence_goes_through_to_the_library_and_claims_no_stems",)),
    Row(5, "ten hours of silence in 72 kB", "refused: longer than the limit, by default four hours", 422,
        (Case("ten hours.flac", synth.silent_flac, ErrorCode.TOO_LONG, "36000 s long; allowed are 14400 s"),
         Case("ten hours unannounced.flac", makers.unannounced_flac, ErrorCode.TOO_LONG, "more than 14400 s"))),
    Row(6, "FLAC that claims 2^36 - 1 samples", "refused: less is there than its header promises", 422,
        (Case("lying.flac", synth.lying_flac, ErrorCode.DAMAGED, "samples its header promises"),)),
    Row(7, "WAV with a data size of 0xFFFFFFFF", "accepted; the length comes from the bytes", None,
        (Case("endless.wav", synth.endless_wav),)),
    Row(8, "MP3 that was cut off", "accepted with a warning down to 90 % of what its header promises, refused below",
        422, (Case("half.mp3", synth.half_mp3, ErrorCode.DAMAGED, "could be decoded"),
         Case("nearly whole.mp3", makers.nearly_whole_mp3, says="truncated"),
         Case("half without length.mp3", makers.mp3_without_length))),
    Row(9, "an upload that ends in the middle", "nothing is taken in", None, proof=(
        "test_a_file_that_is_still_being_written_is_never_taken",),
        later=f"400 where Content-Length and body differ: {_API}"),
)  # fmt: skip

SAMPLES = (
    Row(10, "a sample rate of 1 Hz", "refused before decoding", 422,
        (Case("one hertz.wav", synth.one_hertz_wav, ErrorCode.BAD_RATE, "1 Hz"),)),
    Row(11, "a sample rate of 4,294,967,295 Hz", "refused before decoding", 422,
        (Case("highest rate.wav", partial(synth.odd_wav, sr=2**32 - 1), ErrorCode.BAD_RATE, "4294967295 Hz"),)),
    Row(12, "192 kHz", "accepted; resampled for the engine, delivered at 192 kHz", None,
        (Case("high rate.wav", makers.high_rate),)),
    Row(13, "eight channels", "accepted; mixed down to stereo, noted", 422,
        (Case("eight channels.wav", makers.eight_channels, says="8 channels are mixed down to stereo"),
         Case("nine channels.wav", partial(synth.odd_wav, channels=9), ErrorCode.BAD_CHANNELS, "9 channels"))),
    Row(14, "65,535 channels", "refused before decoding", 422,
        (Case("most channels.wav", partial(synth.odd_wav, channels=65_535), ErrorCode.BAD_CHANNELS, "65535 channels"),
         Case("no channels.wav", partial(synth.odd_wav, channels=0), ErrorCode.BAD_CHANNELS, "0 channels"))),
    Row(15, "0 bits per sample; an unknown codec", "refused", 422,
        (Case("no bits.wav", partial(synth.odd_wav, bits=0), ErrorCode.DAMAGED),
         Case("64 bits.wav", partial(synth.odd_wav, bits=64), ErrorCode.DAMAGED, "kind s64p? are not supported"),
         Case("unknown codec.wav", partial(synth.odd_wav, codec=0x9999), ErrorCode.DAMAGED))),
    Row(16, "float WAV with NaN or infinity", "refused, with the time of the first such sample", 422,
        (Case("not a number.wav", synth.nan_wav, ErrorCode.NON_FINITE, "0.500 s"),
         Case("infinite.wav", partial(synth.nan_wav, value=float("-inf")), ErrorCode.NON_FINITE, "0.500 s"))),
    Row(17, "float WAV with a peak of 1e38", "refused: no decoder writes that", 422,
        (Case("peak.wav", partial(synth.nan_wav, value=1e38), ErrorCode.DAMAGED, "peak is 1e.38 times full scale"),)),
    Row(18, "a DC offset of full scale", "accepted with a warning", None,
        (Case("offset.wav", makers.offset, says="DC offset of 1.00"),)),
    Row(19, "mono, 8 kHz, u-law", "accepted", None, (Case("telephone.wav", makers.telephone),)),
    Row(20, "FLAC named .mp3", "accepted by its content, with a warning; what is delivered has the right extension",
        None, (Case("flac.mp3", lambda path: synth.write_flac(path, synth.music(1.0)), says="content is flac"),),
        proof=("test_a_wrong_extension_is_corrected_where_the_original_is_delivered",)),
)  # fmt: skip

TYPES = (
    Row(21, "ZIP named .mp3", "refused, never unpacked", 415, (Case("zip.mp3", synth.zip_file, _NOT_AUDIO, "PK"),)),
    Row(22, "ZIP bomb", "refused, never unpacked", 415, (Case("bomb.mp3", makers.zip_bomb, _NOT_AUDIO, "PK"),)),
    Row(23, "document, page, picture, archive or program with MP3 behind it", "refused", 415,
        tuple(Case(f"{name}.mp3", _foreign(head), _NOT_AUDIO, "no supported audio") for name, head in (
            ("pdf", b"%PDF-1.7\n"), ("page", b"<html><body>"), ("jpeg", b"\xff\xd8\xff\xe0\0\x10JFIF\0"),
            ("gif", b"GIF89a\1\0\1\0"), ("seven zip", b"7z\xbc\xaf\x27\x1c"), ("program", b"\x7fELF\2\1\1"),
        ))),
    Row(24, "HLS playlist named .mp3 with an address", "refused; nobody is asked", 415, proof=(
        "test_playlists_reach_nobody",), codes=(_NOT_AUDIO,)),
    Row(25, "HLS playlist named .mp3 with a file", "refused; the file is not opened", 415,
        (Case("hls.mp3", synth.hls_text, _NOT_AUDIO), Case("hls.m3u8", synth.hls_text, _NOT_AUDIO)),
        proof=("test_playlists_never_open_the_song_beside_them",)),
    Row(26, "ffconcat script, relative or absolute", "refused; the file is not opened", 415,
        (Case("concat.mp3", synth.ffconcat_text, _NOT_AUDIO),
         Case("concat absolute.mp3", partial(synth.ffconcat_text, target="/etc/passwd"), _NOT_AUDIO)),
        proof=("test_playlists_never_open_the_song_beside_them",)),
    Row(27, "SDP, RTSP, DASH, ASX, PLS, M3U, CUE", "refused", 415,
        (Case("session.sdp", _text(b"v=0\no=- 0 0 IN IP4 127.0.0.1\nm=audio 5 RTP/AVP 0\n"), _NOT_AUDIO),
         Case("stream.mp3", _text(b"rtsptext\nrtsp://127.0.0.1/x\n"), _NOT_AUDIO),
         Case("manifest.mpd", _text(b"<?xml version='1.0'?><MPD/>"), _NOT_AUDIO),
         Case("list.asx", _text(b"<asx version='3.0'><entry><ref href='http://127.0.0.1/x'/></entry>"), _NOT_AUDIO),
         Case("list.pls", _text(b"[playlist]\nFile1=/etc/passwd\n"), _NOT_AUDIO),
         Case("list.m3u", synth.playlist_text, _NOT_AUDIO),
         Case("sheet.cue", _text(b'FILE "x.wav" WAVE\n'), _NOT_AUDIO))),
    Row(28, "M4A whose audio is said to lie in another file", "refused; the file is not opened", 422,
        (Case("outside.m4a", makers.outside_m4a, ErrorCode.DAMAGED, "lies in another file"),
         Case("alias.m4a", partial(makers.outside_m4a, kind=b"alis", target=b""), ErrorCode.DAMAGED, "another file"))),
    Row(29, "video with sound", "accepted, its audio alone; refused where the user's types leave it out", 415,
        (Case("video.mp4", makers.video, says="only the audio of this video is used"),),
        proof=("test_types_are_limited_per_user",), codes=(ErrorCode.TYPE_REFUSED,)),
    Row(30, "protected M4P; common encryption", "refused", 422,
        (Case("protected.m4p", makers.protected_m4a, ErrorCode.PROTECTED, "encrypted"),
         Case("from a shop.m4p", partial(makers.protected_m4a, entry=b"drms"), ErrorCode.PROTECTED, "encrypted"))),
    Row(31, "Matroska with 50 tracks", "accepted; the first track alone is decoded, which is noted", None,
        (Case("tracks.mka", partial(_TRACKS, tracks=50), says="the first of 50 audio streams is used"),
         Case("very many tracks.mka", partial(_TRACKS, tracks=5_000), says="the first of 1000 audio streams is used"))),
    Row(61, "a good song that calls itself a picture", "accepted by its content, with a warning", None,
        (Case("song.png", partial(makers.mp3_behind, b""), says="content is mp3"),),
        later=f"Content-Type: {_API}"),
    Row(63, "very many tiny packets; chained Ogg", "accepted, or refused, within the limit of processor time", 422,
        (Case("tiny packets.mka", partial(makers.matroska, packets=20_000)),
         Case("tiny packets.ogg", partial(makers.tiny_packets_ogg, packets=20_000), says="could not be decoded"),
         Case("chained.ogg", partial(makers.chained_ogg, rates_hz=(44_100,), times=200, seconds=0.05)),
         Case("changing rate.ogg", partial(makers.chained_ogg, rates_hz=(44_100, 22_050)), says="reading broke off"),
         Case("a million.mka", partial(makers.matroska, packets=500_000), heavy=True),
         Case("a million.ogg", partial(makers.tiny_packets_ogg, packets=1_000_000), says="could not be decoded",
              heavy=True))),
    Row(64, "random bytes; 200 mutated copies of a song in each format", "refused, or accepted; never an error of ours",
        415, (Case("random.mp3", synth.random_bytes, _NOT_AUDIO),),
        proof=("test_mutated_copies_get_a_published_answer_within_their_time",)),
)  # fmt: skip

ROWS = (*LENGTHS, *SAMPLES, *TYPES)
