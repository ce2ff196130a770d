// SPDX-License-Identifier: Apache-2.0
#ifndef IBX_XML_TEXT_H
#define IBX_XML_TEXT_H

/// \file
/// Text in XML 1.0, of elements and of attributes in double quotes.

#include <stdio.h>

/// Writes `text`, escaped; NULL is empty. The text may hold any bytes: what is no
/// UTF-8, and characters that XML does not have, become '?'.
void ibx_xml_text_write(FILE *out, const char *text);

#endif
