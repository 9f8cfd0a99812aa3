/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The request parser. A head is looked at again from its start each time another of its lines has ended:
 * that keeps the state to a few offsets, refuses a wrong line as soon as it stands there, and costs at most
 * 64 passes over 16 KiB for a client that sends line by line. Bodies are never looked at twice.
 */
#include "config.h"

#include "frontends/http/httpreq.h"

#include <errno.h>
#include <string.h>

const struct httpreq_limits httpreq_limits_default = {
    .max_line = 8 * 1024,
    .max_head = 16 * 1024,
    .max_body = 1024 * 1024,
};

enum {
    C_TOKEN = 1,  /* tchar of RFC 9110 */
    C_TARGET = 2, /* may stand in a target: visible ASCII but '#' */
    C_VALUE = 4,  /* may stand in a field value: HTAB, SP, visible, and bytes above 0x7f */
    C_HOST = 8,   /* may stand in host[:port] */
    C_HEX = 16,
    C_DIGIT = 32,
};

#define LETTER (C_TOKEN | C_TARGET | C_VALUE | C_HOST)
static const uint8_t char_class[256] = {
    ['\t'] = C_VALUE,
    [' '] = C_VALUE,
    ['!'] = LETTER,
    ['"'] = C_TARGET | C_VALUE,
    ['#'] = C_TOKEN | C_VALUE,
    ['$' ... '\''] = LETTER,
    ['(' ... ')'] = C_TARGET | C_VALUE | C_HOST,
    ['*' ... '+'] = LETTER,
    [','] = C_TARGET | C_VALUE | C_HOST,
    ['-' ... '.'] = LETTER,
    ['/'] = C_TARGET | C_VALUE,
    ['0' ... '9'] = LETTER | C_HEX | C_DIGIT,
    [':' ... ';'] = C_TARGET | C_VALUE | C_HOST,
    ['<'] = C_TARGET | C_VALUE,
    ['='] = C_TARGET | C_VALUE | C_HOST,
    ['>' ... '@'] = C_TARGET | C_VALUE,
    ['A' ... 'F'] = LETTER | C_HEX,
    ['G' ... 'Z'] = LETTER,
    ['['] = C_TARGET | C_VALUE | C_HOST,
    ['\\'] = C_TARGET | C_VALUE,
    [']'] = C_TARGET | C_VALUE | C_HOST,
    ['^'] = C_TOKEN | C_TARGET | C_VALUE,
    ['_'] = LETTER,
    ['`'] = C_TOKEN | C_TARGET | C_VALUE,
    ['a' ... 'f'] = LETTER | C_HEX,
    ['g' ... 'z'] = LETTER,
    ['{'] = C_TARGET | C_VALUE,
    ['|'] = C_TOKEN | C_TARGET | C_VALUE,
    ['}'] = C_TARGET | C_VALUE,
    ['~'] = LETTER,
    [0x80 ... 0xff] = C_VALUE,
};

/* How many of the first bytes are of the class. */
static size_t
span(struct slice s, uint8_t class)
{
    size_t i = 0;

    while (s.n - i >= 4 && (char_class[s.p[i]] & char_class[s.p[i + 1]] & char_class[s.p[i + 2]] &
                               char_class[s.p[i + 3]] & class) != 0)
        i += 4;
    while (i < s.n && (char_class[s.p[i]] & class) != 0)
        i++;
    return i;
}

static int
refuse(struct httpreq *req, int status, const char *reason)
{
    req->status = status;
    req->reason = reason;
    return HTTPREQ_REFUSED;
}

/* --- the request line ------------------------------------------------------------------------------- */

static enum httpreq_method
method_of(struct slice name)
{
    static const char *const names[] = {
        [HTTPREQ_GET] = "GET",
        [HTTPREQ_HEAD] = "HEAD",
        [HTTPREQ_POST] = "POST",
        [HTTPREQ_PUT] = "PUT",
        [HTTPREQ_DELETE] = "DELETE",
        [HTTPREQ_PATCH] = "PATCH",
        [HTTPREQ_OPTIONS] = "OPTIONS",
    };
    for (unsigned i = HTTPREQ_GET; i < sizeof names / sizeof *names; i++)
        if (slice_is(name, names[i]))
            return (enum httpreq_method)i;
    return HTTPREQ_OTHER;
}

/* Only visible ASCII without '#', and each '%' with two hex digits behind it. */
static const char *
check_target(struct slice s)
{
    if (span(s, C_TARGET) != s.n)
        return memchr(s.p, '#', s.n) != NULL ? "the request target has a fragment"
                                             : "the request target has a character that must be escaped";
    for (const uint8_t *p = s.p, *end = s.p + s.n; p < end && (p = memchr(p, '%', (size_t)(end - p))) != NULL;
         p += 3) {
        if (end - p < 3 || !(char_class[p[1]] & C_HEX) || !(char_class[p[2]] & C_HEX))
            return "the request target has a % that is not followed by two hex digits";
    }
    return NULL;
}

/* host[:port], as in a Host header: no userinfo, and a port of digits. */
static bool
host_is_good(struct slice s)
{
    size_t i;

    if (s.n == 0 || span(s, C_HOST) != s.n)
        return false;
    if (s.p[0] == '[') {
        const uint8_t *end = memchr(s.p, ']', s.n);
        if (end == NULL || end == s.p + 1)
            return false;
        i = (size_t)(end - s.p) + 1;
    } else {
        const uint8_t *colon = memchr(s.p, ':', s.n);
        i = colon == NULL ? s.n : (size_t)(colon - s.p);
        if (i == 0 || memchr(s.p, '[', s.n) != NULL || memchr(s.p, ']', s.n) != NULL)
            return false;
    }
    if (i == s.n)
        return true;
    struct slice port = slice_of(s.p + i + 1, s.n - i - 1);
    return s.p[i] == ':' && port.n <= 5 && span(port, C_DIGIT) == port.n;
}

/* Takes the authority of `http://host/path` into req->host and leaves the path in *s. */
static bool
take_authority(struct slice *s, struct httpreq *req)
{
    static const char *const schemes[] = {"http://", "https://", "ws://", "wss://"};

    for (size_t i = 0; i < sizeof schemes / sizeof *schemes; i++) {
        size_t n = strlen(schemes[i]);
        if (s->n < n || !httpreq_is_name(slice_of(s->p, n), schemes[i]))
            continue;
        struct slice rest = slice_of(s->p + n, s->n - n);
        size_t n_host = 0;
        while (n_host < rest.n && rest.p[n_host] != '/' && rest.p[n_host] != '?')
            n_host++;
        req->host = slice_of(rest.p, n_host);
        *s = slice_of(rest.p + n_host, rest.n - n_host);
        return host_is_good(req->host);
    }
    return false;
}

static int
parse_target(struct slice s, struct httpreq *req)
{
    const char *wrong = check_target(s);
    if (wrong != NULL)
        return refuse(req, 400, wrong);
    if (slice_is(s, "*")) {
        if (req->method != HTTPREQ_OPTIONS)
            return refuse(req, 400, "the request target `*` is for OPTIONS only");
    } else if (s.p[0] != '/' && !take_authority(&s, req)) {
        return refuse(req, 400, "the request target is neither a path nor a whole address");
    }
    const uint8_t *mark = s.n == 0 ? NULL : memchr(s.p, '?', s.n);
    size_t n_path = mark == NULL ? s.n : (size_t)(mark - s.p);
    req->path = n_path == 0 ? slice_str("/") : slice_of(s.p, n_path); /* http://host?query has no path */
    if (mark != NULL)
        req->query = slice_of(mark + 1, s.n - n_path - 1);
    return 0;
}

/* METHOD SP target SP HTTP/1.x; nothing else, and single spaces. */
static int
parse_request_line(struct slice s, struct httpreq *req)
{
    size_t n_method = span(s, C_TOKEN);
    if (n_method == 0 || n_method > HTTPREQ_MAX_METHOD || n_method == s.n || s.p[n_method] != ' ')
        return refuse(req, 400, "the request line does not begin with a method and a space");
    req->method_name = slice_of(s.p, n_method);
    req->method = method_of(req->method_name);

    struct slice rest = slice_of(s.p + n_method + 1, s.n - n_method - 1);
    const uint8_t *space = rest.n == 0 ? NULL : memchr(rest.p, ' ', rest.n);
    if (space == NULL || space == rest.p)
        return refuse(req, 400, "the request line is not `METHOD target HTTP/1.1`");
    struct slice target = slice_of(rest.p, (size_t)(space - rest.p));
    struct slice version = slice_of(space + 1, rest.n - target.n - 1);

    if (version.n != 8 || memcmp(version.p, "HTTP/", 5) != 0 || !(char_class[version.p[5]] & C_DIGIT) ||
        version.p[6] != '.' || !(char_class[version.p[7]] & C_DIGIT))
        return refuse(req, 400, "the request line does not end in HTTP/1.1");
    if (version.p[5] != '1' || version.p[7] > '1')
        return refuse(req, 505, "only HTTP/1.1 and HTTP/1.0 are spoken here");
    req->minor = version.p[7] - '0';
    return parse_target(target, req);
}

/* --- the headers ------------------------------------------------------------------------------------ */

static int
parse_header_line(struct slice s, struct httpreq *req, struct httpreq_header *ret)
{
    if (s.p[0] == ' ' || s.p[0] == '\t')
        return refuse(req, 400, "a header is folded over two lines");
    size_t n_name = span(s, C_TOKEN);
    if (n_name < s.n && n_name > 0 && (s.p[n_name] == ' ' || s.p[n_name] == '\t'))
        return refuse(req, 400, "white space in a header's name or before its colon");
    if (n_name == 0 || n_name == s.n || s.p[n_name] != ':')
        return refuse(req, 400, "a header line is not `Name: value`");
    struct slice value = slice_of(s.p + n_name + 1, s.n - n_name - 1);
    if (span(value, C_VALUE) != value.n)
        return refuse(req, 400, "a control character in a header");
    while (value.n > 0 && (value.p[0] == ' ' || value.p[0] == '\t'))
        value = slice_of(value.p + 1, value.n - 1);
    while (value.n > 0 && (value.p[value.n - 1] == ' ' || value.p[value.n - 1] == '\t'))
        value.n--;
    ret->name = slice_of(s.p, n_name);
    ret->value = value;
    return 0;
}

/* What the headers say about the message's own shape; collected, then judged together. */
struct framing {
    unsigned n_lengths, n_codings, n_hosts, n_expects;
    struct slice length, coding, host, expect;
};

static void
framing_note(struct framing *f, const struct httpreq_header *h)
{
    if (httpreq_is_name(h->name, "content-length")) {
        f->n_lengths++;
        f->length = h->value;
    } else if (httpreq_is_name(h->name, "transfer-encoding")) {
        f->n_codings++;
        f->coding = h->value;
    } else if (httpreq_is_name(h->name, "host")) {
        f->n_hosts++;
        f->host = h->value;
    } else if (httpreq_is_name(h->name, "expect")) {
        f->n_expects++;
        f->expect = h->value;
    }
}

static int
judge_length(const struct framing *f, const struct httpreq_limits *limits, struct httpreq *req, size_t *ret)
{
    size_t n = 0;

    if (f->n_lengths > 1)
        return refuse(req, 400, "there is more than one Content-Length");
    if (f->length.n == 0 || span(f->length, C_DIGIT) != f->length.n)
        return refuse(req, 400, "Content-Length is not a number");
    for (size_t i = 0; i < f->length.n; i++) {
        n = n * 10 + (f->length.p[i] - '0');
        if (n > limits->max_body)
            return refuse(req, 413, "the body is larger than this server takes");
    }
    *ret = n;
    return 0;
}

static int
judge_framing(
    const struct framing *f, const struct httpreq_limits *limits, struct httpreq *req, size_t *ret_length)
{
    *ret_length = 0;
    if (f->n_hosts > 1 || (req->minor >= 1 && f->n_hosts == 0))
        return refuse(
            req, 400, f->n_hosts == 0 ? "there is no Host header" : "there is more than one Host header");
    if (f->n_hosts == 1 && !host_is_good(f->host))
        return refuse(req, 400, "the Host header is not a host with an optional port");
    if (req->host.n == 0)
        req->host = f->host;
    if (f->n_codings > 0) {
        if (f->n_lengths > 0)
            return refuse(req, 400, "both Content-Length and Transfer-Encoding are given");
        if (req->minor == 0)
            return refuse(req, 400, "Transfer-Encoding is not for HTTP/1.0");
        if (f->n_codings > 1)
            return refuse(req, 400, "there is more than one Transfer-Encoding");
        if (!httpreq_is_name(f->coding, "chunked"))
            return refuse(req, 501, "the only Transfer-Encoding taken is `chunked`");
        req->is_chunked = true;
    } else if (f->n_lengths > 0) {
        int r = judge_length(f, limits, req, ret_length);
        if (r != 0)
            return r;
    }
    if (f->n_expects > 0 && req->minor >= 1 && !httpreq_is_name(f->expect, "100-continue"))
        return refuse(req, 417, "the only Expect understood is `100-continue`");
    return 0;
}

/* The LF that ends the line at s, or NULL. */
static const uint8_t *
line_end(struct slice s)
{
    return s.n == 0 ? NULL : memchr(s.p, '\n', s.n);
}

/* Parses the lines of a head as far as they have ended. */
static int
parse_head(struct slice in, const struct httpreq_limits *limits, struct httpreq *req, size_t *ret_n_head,
    size_t *ret_length, bool *ret_expects)
{
    struct framing framing = {0};
    bool has_line = false;

    memset(req, 0, offsetof(struct httpreq, headers));
    if (in.n >= 2 && in.p[0] == '\r' && in.p[1] == '\n')
        in = slice_of(in.p + 2, in.n - 2); /* RFC 9112, 2.2: old clients end a POST with one CRLF too many */
    const uint8_t *start = in.p;
    for (;;) {
        const uint8_t *lf = line_end(in);
        if (lf == NULL)
            return HTTPREQ_MORE;
        if (lf == in.p || lf[-1] != '\r')
            return refuse(req, 400, "a line ends in LF without CR");
        struct slice line = slice_of(in.p, (size_t)(lf - in.p) - 1);
        in = slice_of(lf + 1, in.n - line.n - 2);
        int r;
        if (has_line && (size_t)(in.p - start) > limits->max_head)
            return refuse(req, 431, "the headers are too large");
        if (!has_line) {
            if (line.n > limits->max_line)
                return refuse(req, 414, "the request line is too long");
            r = parse_request_line(line, req);
            has_line = true;
        } else if (line.n == 0) {
            break;
        } else {
            if (req->n_headers == HTTPREQ_MAX_HEADERS)
                return refuse(req, 431, "there are too many headers");
            r = parse_header_line(line, req, &req->headers[req->n_headers]);
            if (r == 0) {
                req->names |= httpreq_name_bit(req->headers[req->n_headers].name);
                framing_note(&framing, &req->headers[req->n_headers++]);
            }
        }
        if (r != 0)
            return r;
    }
    int r = judge_framing(&framing, limits, req, ret_length);
    if (r != 0)
        return r;
    req->is_keep_alive = req->minor >= 1 ? !httpreq_has_token(req, "connection", "close")
                                         : httpreq_has_token(req, "connection", "keep-alive");
    req->is_upgrade = req->minor >= 1 && httpreq_has_token(req, "connection", "upgrade");
    *ret_expects = framing.n_expects > 0 && req->minor >= 1;
    *ret_n_head = (size_t)(in.p - start);
    return 0;
}

/* A head that has not ended: is it hopeless already? */
static int
check_unfinished(
    const struct httpreq_state *st, const struct httpreq_limits *limits, struct slice in, struct httpreq *req)
{
    if (in.n > 0 && in.p[0] == '\r') { /* the one CRLF before a request */
        if (in.n > 1 && in.p[1] != '\n')
            return refuse(req, 400, "the request line does not begin with a method and a space");
        if (in.n <= 2)
            return HTTPREQ_MORE;
        in = slice_of(in.p + 2, in.n - 2);
    }
    if (in.n > 0 && !(char_class[in.p[0]] & C_TOKEN))
        return refuse(req, 400, "the request line does not begin with a method and a space");
    if (line_end(in) == NULL && in.n > limits->max_line + 1) /* one for the CR */
        return refuse(req, 414, "the request line is too long");
    if (in.n > limits->max_head)
        return refuse(req, 431, "the headers are too large");
    return HTTPREQ_MORE;
}

/* --- chunked bodies --------------------------------------------------------------------------------- */

static int
hex_value(uint8_t c)
{
    return c <= '9' ? c - '0' : (c | 0x20) - 'a' + 10;
}

/* `1a;name=value`: the size counts, the extension is passed over. */
static int
chunk_size(struct httpreq_state *st, const struct httpreq_limits *limits, struct slice s, struct httpreq *req)
{
    size_t n_digits = span(s, C_HEX), size = 0;

    if (n_digits == 0 || n_digits > 16)
        return refuse(req, 400, "a chunk has no size in hex digits");
    for (size_t i = 0; i < n_digits; i++) {
        size = size * 16 + (size_t)hex_value(s.p[i]);
        if (size > limits->max_body - st->n_body)
            return refuse(req, 413, "the body is larger than this server takes");
    }
    struct slice extension = slice_of(s.p + n_digits, s.n - n_digits);
    if (extension.n > 0 && (extension.p[0] != ';' || span(extension, C_VALUE) != extension.n))
        return refuse(req, 400, "a chunk's size is followed by something else than an extension");
    st->n_spare += (uint32_t)extension.n;
    if (st->n_spare > HTTPREQ_MAX_CHUNK_EXTENSIONS)
        return refuse(req, 400, "the chunk extensions are too large");
    st->n_chunk_left = size;
    return 0;
}

/* Trailers are checked like headers and dropped. Those that would change the message are refused. */
static int
check_trailer(struct slice line, struct httpreq *req)
{
    struct httpreq_header h;
    struct framing f = {0};

    int r = parse_header_line(line, req, &h);
    if (r != 0)
        return r;
    framing_note(&f, &h);
    if (f.n_lengths + f.n_codings + f.n_hosts > 0)
        return refuse(req, 400, "a trailer repeats a header that shapes the message");
    return 0;
}

/* One line of the framing at in, or MORE. ret_n: its length with CRLF. */
static int
chunk_line(struct httpreq_state *st, struct slice in, size_t max, struct httpreq *req, struct slice *ret,
    size_t *ret_n)
{
    const uint8_t *lf = line_end(slice_of(in.p + st->n_seen, in.n - st->n_seen));
    size_t n = lf == NULL ? in.n : (size_t)(lf - in.p);

    if (n > max + 1)
        return refuse(req, 400, "a line of the chunked body is too long");
    if (lf == NULL) {
        st->n_seen = (uint32_t)in.n;
        return HTTPREQ_MORE;
    }
    st->n_seen = 0;
    if (n == 0 || lf[-1] != '\r')
        return refuse(req, 400, "a line ends in LF without CR");
    *ret = slice_of(in.p, n - 1);
    *ret_n = n + 1;
    return 0;
}

/* One step at the raw bytes: a line, or the data that is there (moved down to `to`). */
static int
chunk_step(struct httpreq_state *st, const struct httpreq_limits *limits, struct slice in, uint8_t *to,
    struct httpreq *req, size_t *ret_n)
{
    struct slice line;
    int r;

    switch (st->phase) {
    case HTTPREQ_IN_CHUNK:
        if (in.n == 0)
            return HTTPREQ_MORE;
        *ret_n = in.n < st->n_chunk_left ? in.n : st->n_chunk_left;
        memmove(to, in.p, *ret_n);
        st->n_body += *ret_n;
        st->n_chunk_left -= *ret_n;
        if (st->n_chunk_left == 0)
            st->phase = HTTPREQ_IN_CHUNK_END;
        return 0;
    case HTTPREQ_IN_CHUNK_END:
        if (in.n > 0 && (in.p[0] != '\r' || (in.n > 1 && in.p[1] != '\n')))
            return refuse(req, 400, "a chunk is longer than its size says");
        if (in.n < 2)
            return HTTPREQ_MORE;
        *ret_n = 2;
        st->phase = HTTPREQ_IN_CHUNK_LINE;
        return 0;
    case HTTPREQ_IN_CHUNK_LINE:
        r = chunk_line(st, in, HTTPREQ_MAX_CHUNK_LINE, req, &line, ret_n);
        if (r == 0)
            r = chunk_size(st, limits, line, req);
        if (r == 0) {
            st->phase = st->n_chunk_left > 0 ? HTTPREQ_IN_CHUNK : HTTPREQ_IN_TRAILER;
            if (st->phase == HTTPREQ_IN_TRAILER)
                st->n_spare = 0;
        }
        return r;
    default:
        r = chunk_line(st, in, limits->max_head, req, &line, ret_n);
        if (r != 0)
            return r;
        if (line.n == 0) {
            st->phase = HTTPREQ_IN_DONE;
            return 0;
        }
        st->n_spare += (uint32_t)*ret_n;
        if (st->n_spare > limits->max_head)
            return refuse(req, 431, "the trailers are too large");
        return check_trailer(line, req);
    }
}

/* Decodes what has come. In p stand the head, the body so far, a gap, and what is still raw. */
static int
decode_chunks(
    struct httpreq_state *st, const struct httpreq_limits *limits, uint8_t *p, size_t n, struct httpreq *req)
{
    while (st->phase != HTTPREQ_IN_DONE) {
        size_t end = st->n_head + st->n_body, raw = end + st->n_gap, n_taken = 0;
        bool is_data = st->phase == HTTPREQ_IN_CHUNK;
        int r = chunk_step(st, limits, slice_of(p + raw, n - raw), p + end, req, &n_taken);
        if (r != 0)
            return r;
        if (!is_data)
            st->n_gap += n_taken;
        if (st->n_gap > limits->max_body + limits->max_head)
            return refuse(req, 413, "the body comes in too many small chunks");
    }
    return 0;
}

/* --- the whole -------------------------------------------------------------------------------------- */

static int
start_head(
    struct httpreq_state *st, const struct httpreq_limits *limits, struct slice in, struct httpreq *req)
{
    size_t n_head = 0, length = 0;
    bool expects = false;

    if (st->n_seen > in.n || in.n == 0)
        return HTTPREQ_MORE;
    int r = HTTPREQ_MORE;
    if (memchr(in.p + st->n_seen, '\n', in.n - st->n_seen) != NULL)
        r = parse_head(in, limits, req, &n_head, &length, &expects);
    if (r == HTTPREQ_MORE)
        r = check_unfinished(st, limits, in, req);
    if (r != 0) {
        st->n_seen = (uint32_t)in.n;
        return r;
    }
    bool has_spare_line = in.p[0] == '\r';
    st->n_head = (uint32_t)(n_head + (has_spare_line ? 2 : 0));
    st->n_seen = 0;
    st->n_body = length;
    st->phase = req->is_chunked ? HTTPREQ_IN_CHUNK_LINE : HTTPREQ_IN_LENGTH_BODY;
    st->wants_continue = expects && in.n == st->n_head && (req->is_chunked || length > 0);
    return 0;
}

int
httpreq_parse(
    struct httpreq_state *st, const struct httpreq_limits *limits, uint8_t *p, size_t n, struct httpreq *ret)
{
    bool has_head = false;
    int r = 0;

    if (st->phase == HTTPREQ_IN_HEAD) {
        r = start_head(st, limits, slice_of(p, n), ret);
        if (r != 0)
            return r;
        has_head = true;
    }
    if (st->phase == HTTPREQ_IN_LENGTH_BODY) {
        if (n - st->n_head < st->n_body)
            return HTTPREQ_MORE;
    } else {
        r = decode_chunks(st, limits, p, n, ret);
        if (r != 0)
            return r;
    }
    if (!has_head) { /* the bytes may have moved since the head was read */
        size_t n_head, length;
        bool expects;
        r = parse_head(slice_of(p, st->n_head), limits, ret, &n_head, &length, &expects);
        if (r != 0)
            return r == HTTPREQ_MORE ? -EINVAL : r; /* the caller changed the bytes it holds */
    }
    ret->body = slice_of(p + st->n_head, st->n_body);
    ret->n_used = st->n_head + st->n_body + st->n_gap;
    memset(st, 0, sizeof *st);
    return 0;
}
