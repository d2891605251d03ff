"""Headers of stored records are read and written in the same form in every version."""

from worker.stream.stored_records import decode_headers, encode_headers


def test_stored_headers_keep_their_form_missing_and_empty_values_and_repeated_names():
    written = b'[["ce_id","MQ=="],["x",null],["x",""],["raw","/wA="]]'
    headers = [("ce_id", b"1"), ("x", None), ("x", b""), ("raw", b"\xff\x00")]

    assert decode_headers(written) == headers
    assert encode_headers(headers) == written
