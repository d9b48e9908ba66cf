"""Rows about how a file comes: the upload folder's traps, malware, duplicates, floods; 44 to 60 and 62."""

from ironclad_assets.errors import ErrorCode
from tests.bad_inputs import makers
from tests.bad_inputs.table import Case, Row

_API = "it needs the HTTP API"

ROWS = (
    Row(44, "symbolic link: to a file, to a folder, to itself", "ignored, and the watcher says so",
        proof=("test_what_is_no_plain_file_is_ignored",)),
    Row(45, "hard link to somebody else's file", "refused, unread", 422,
        proof=("test_a_hard_link_is_refused_unread",), codes=(ErrorCode.HARD_LINKED,)),
    Row(46, "FIFO", "ignored; nothing waits for it", proof=("test_what_is_no_plain_file_is_ignored",)),
    Row(47, "device, socket", "ignored", proof=("test_what_is_no_plain_file_is_ignored",)),
    Row(48, "folder named x.mp3", "ignored", proof=("test_what_is_no_plain_file_is_ignored",)),
    Row(49, "a file replaced between look and copy", "what was opened is taken; what replaced it comes next",
        proof=("test_a_file_replaced_under_the_copy_is_no_other_song",)),
    Row(50, "a file that grows for ever", "not taken; after an hour the watcher says so",
        proof=("test_a_file_that_grows_for_ever_is_reported",)),
    Row(51, "a sparse file of 1 TB", "refused by its size, unread", 413,
        proof=("test_a_huge_file_is_refused_unread",), codes=(ErrorCode.TOO_LARGE,)),
    Row(52, "a file nobody may read", "reported once; taken when that changes",
        proof=("test_a_file_nobody_may_read_is_taken_when_that_changes",)),
    Row(53, "a file deleted while it is copied", "taken whole or not at all; nothing is tried over and over",
        proof=("test_a_file_deleted_under_the_copy_leaves_nothing_to_do",)),
    Row(54, "EICAR as it is and in WAV, FLAC, M4A, MP3, Ogg, ZIP", "refused, never decoded", 422,
        proof=("test_malware_is_found_in_every_container", "test_malware_is_quarantined_and_never_decoded"),
        codes=(ErrorCode.MALWARE,)),
    Row(55, "the scanner away, silent, or given too much", "held, and goes on by itself; never taken as clean", 503,
        proof=("test_a_scanner_that_is_away_holds_songs_until_it_is_back",
               "test_a_stream_that_is_too_long_for_the_scanner_is_held"),
        codes=(ErrorCode.SCANNER_AWAY,)),
    Row(56, "the same bytes again", "the song that is there is named; another user gets a song of their own", 409,
        proof=("test_the_same_bytes_again_make_no_second_song",), codes=(ErrorCode.DUPLICATE,)),
    Row(57, "2 GB and more where less is allowed", "refused by its size, unread", 413,
        proof=("test_a_huge_file_is_refused_unread",), codes=(ErrorCode.TOO_LARGE,),
        later=f"a body that is cut off while it is sent: {_API}"),
    Row(58, "a request of 10,000 targets, stems or parameters, or with a huge one",
        "refused before the song is read: at most 64 of each, of at most 1,000 characters", 422,
        proof=("test_a_request_of_too_many_parts_is_refused_unread",), codes=(ErrorCode.BAD_OPTION,),
        later=f"400 for a body of 10,000 multipart parts, or with a huge part header: {_API}"),
    Row(59, "one byte a second", "not taken before it is complete",
        proof=("test_a_file_that_is_still_being_written_is_never_taken",), later=f"408 after 30 s: {_API}"),
    Row(60, "200 uploads at once by one user", "as many as the user's rate allows are taken", 429,
        proof=("test_a_flood_is_taken_at_the_users_rate",), codes=(ErrorCode.RATE_LIMITED,),
        later=f"Retry-After: {_API}"),
    Row(62, "gzip bomb", "refused, never unpacked", 415,
        (Case("song.mp3", makers.gzip_bomb, ErrorCode.NOT_AUDIO, "no supported audio"),),
        later=f"Content-Encoding: {_API}"),
)  # fmt: skip
