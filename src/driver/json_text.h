// SPDX-License-Identifier: Apache-2.0
#ifndef IBX_JSON_TEXT_H
#define IBX_JSON_TEXT_H

/// \file
/// Strings of JSON that is written as a stream. Small documents are made with
/// Jansson.

#include <stdint.h>
#include <stdio.h>

/// Bytes of the UTF-8 character at `text`, 0 where there is none. Nothing is
/// read behind the end of the text.
size_t ibx_utf8_length(const uint8_t *text);

/// Writes `text`, in quotes and escaped; NULL is empty. The text may hold any
/// bytes: what is no UTF-8 becomes U+FFFD, a byte at a time.
void ibx_json_text_write(FILE *out, const char *text);

#endif
