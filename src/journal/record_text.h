/* Texts of a record: how any bytes become a string of JSON, and what a text may be. */
#ifndef VMFERRY_JOURNAL_RECORD_TEXT_H
#define VMFERRY_JOURNAL_RECORD_TEXT_H

/* @text, any bytes, as printable UTF-8: '%' and every byte of a control character or of what is
 * no UTF-8 become '%' and two hex digits (lower case). Caller frees. */
char *record_text_escape(const char *text);

/* The reverse, byte for byte. NULL for a '%' without its digits, and for a NUL. Caller frees. */
char *record_text_unescape(const char *text);

/* Each check gives NULL for a good text, or what is wrong with it, as words that go behind it. */
const char *record_text_plain(const char *text);   /* UTF-8 without control characters */
const char *record_text_path(const char *text);    /* absolute; any bytes */
const char *record_text_id(const char *text);      /* 32 hex digits, lower-case */
const char *record_text_process(const char *text); /* "PID START" */

#endif
