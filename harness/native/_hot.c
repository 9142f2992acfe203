/* Hot path of the WebSocket client: records, frames, envelopes, bodies and histograms of the usual messages.

   The Python path is the definition of what is right. Here is only what is usual: one whole text frame, one JSON object,
   one message or acknowledgement with all of its fields, a sound body of this run, room left in the block of the journal.
   All that is decided before anything is changed. For anything else the answer is "not mine" (0, or None), nothing has
   been changed, and Python handles the frame.

   Bounds: every read is checked against the end of its buffer; texts are copied into buffers of FRAME_MAX bytes only
   after their length was compared with what is left of them. */

#define Py_LIMITED_API 0x030B0000
#define PY_SSIZE_T_CLEAN
#include <Python.h>
#include <structmember.h>
#include <stdint.h>
#include <string.h>
#ifdef __linux__ /* elsewhere Python reads and writes the sockets */
#include <errno.h>
#include <sys/socket.h>
#include <time.h>
#endif

#if !defined(__BYTE_ORDER__) || __BYTE_ORDER__ != __ORDER_LITTLE_ENDIAN__
#error "records are little-endian: on this machine Python writes them"
#endif

#define VERSION 1 /* as in harness/native/__init__.py: a file of another version is not used */

enum { RECORD = 64, FRAME_MAX = 16384, PATHS = 12, PARTS = 4, NAME = 48, KINDS = 8, PIECES = 12, DEPTH = 12, TABLE = 1024, TAG_MAX = 64 };
enum { MESSAGE = 1, ACK = 2 };                          /* as in client/events.py */
enum { INVOKE = 1, OK = 2, DELIVER = 5 };               /* as in checks/history/record.py */
enum { ABSENT, TEXT, NUMBER, OTHER };                   /* what a value of the envelope is */
enum { LABEL, ID, BODY };                               /* fields of a frame that is sent */
enum { RAW, INNER, JSON };                              /* how such a field is quoted */
#define NONE (-1LL)

static PyTypeObject *Counts_type, *Histogram_type, *Pen_type, *Envelope_type;
static PyObject *struct_error, *urandom, *names_table[TABLE], *s_on_answer, *s_on_message;
/* Only used between two calls of Python code, so that the lock of the interpreter is enough. */
static uint8_t said[FRAME_MAX], frame[2 * FRAME_MAX];

#include "texts.h"
#include "records.h"
#include "scan.h"

/* -- the core of one connection, as in client/session.py and client/outbox.py -------------------------------------------- */

typedef struct {
    PyObject_HEAD
    Counts *session;
    Pen *pen;
    Envelope *envelope;
    Histogram *latency, *from_plan;
    PyObject *tag, *rooms, *seen, *acked_seq, *pending, *unanswered, *posted, *open, *names;
    unsigned int client, conn;
    int ack_by_echo, busy;
    long long frame_max, frames, next, now, got, written;
} Core;

/* A message under way, of the tuple `Sent` in client/outbox.py. */
typedef struct { PyObject *tuple, *label; uint32_t counter, attempt, conv, proc; long long sent_ns, planned_ns; } Sent;

static int as_number(PyObject *value, long long most, long long *number) {
    int over = 0;
    if (value == NULL || !PyLong_Check(value)) return 0;
    *number = PyLong_AsLongLongAndOverflow(value, &over);
    return !over && *number >= 0 && *number <= most;
}

static int read_sent(PyObject *tuple, Sent *sent) {
    long long v[8] = {0};
    static const long long most[8] = {UINT32_MAX, 255, UINT32_MAX, 255, 0, 0, INT64_MAX, INT64_MAX};
    if (!PyTuple_Check(tuple) || PyTuple_Size(tuple) != 8) return 0;
    for (int n = 0; n < 8; n++)
        if (most[n] && !as_number(PyTuple_GetItem(tuple, n), most[n], &v[n])) return 0;
    PyObject *label = PyTuple_GetItem(tuple, 4);
    if (!PyUnicode_Check(label)) return 0;
    *sent = (Sent){Py_NewRef(tuple), label, (uint32_t)v[0], (uint32_t)v[1], (uint32_t)v[2], (uint32_t)v[3], v[6], v[7]};
    return 1;
}

/* Raise the number of a key, unless it is higher already. */
static int raise_to(PyObject *numbers, PyObject *key, long long seq) {
    PyObject *known = PyDict_GetItemWithError(numbers, key);
    if (known == NULL && PyErr_Occurred()) return -1;
    long long before = known == NULL ? NONE : PyLong_AsLongLong(known);
    if (before == -1 && PyErr_Occurred()) return -1;
    if (seq <= before) return 0;
    PyObject *value = PyLong_FromLongLong(seq);
    int done = value == NULL ? -1 : PyDict_SetItem(numbers, key, value);
    Py_XDECREF(value);
    return done;
}

static int call_hook(Core *c, PyObject *name, PyObject *argument) {
    PyObject *hook = PyObject_GetAttr((PyObject *)c->session, name), *result = Py_None;
    if (hook == NULL) return -1;
    if (hook != Py_None) {
        result = argument == NULL ? PyObject_CallNoArgs(hook) : PyObject_CallFunctionObjArgs(hook, argument, NULL);
        Py_XDECREF(result);
    }
    Py_DECREF(hook);
    return result == NULL ? -1 : 0;
}

/* The client's id of the own message `counter`, as `Speaker.send` makes it. */
static PyObject *own_id(const Core *c, uint32_t counter) {
    uint8_t text[TAG_MAX + 24];
    Sink out = {text, text + sizeof text};
    Py_ssize_t size;
    const char *tag = PyUnicode_AsUTF8AndSize(c->tag, &size);
    if (tag == NULL) return NULL;
    if (!put_bytes(&out, tag, size) || !put_char(&out, '-') || !put_number(&out, c->client) || !put_char(&out, '-')
        || !put_number(&out, counter)) return PyErr_Format(PyExc_ValueError, "the tag of the run is too long");
    return PyUnicode_FromStringAndSize((const char *)text, out.at - text);
}

/* Find a message that waits for its answer, and nothing unusual about it: 1 found, 0 not mine, -1 an error.
   `sent->tuple` is a reference then. */
static int find_sent(Core *c, PyObject *message_id, Sent *sent) {
    PyObject *tuple = PyDict_GetItemWithError(c->pending, message_id);
    if (tuple == NULL) return PyErr_Occurred() ? -1 : 0;
    return PySet_Size(c->posted) == 0 && PyDict_Size(c->open) == 0 && read_sent(tuple, sent);
}

static int acknowledged(Core *c, int64_t now, int64_t seq, PyObject *message_id, const Sent *sent) {
    if (PyDict_DelItem(c->pending, message_id) < 0) return -1;
    pen_put(c->pen, now, OK, 0, (uint8_t)sent->attempt, (uint8_t)sent->proc, c->client, c->conn, sent->conv, c->client,
            sent->counter, seq, NONE, 0, 0);
    histogram_count(c->latency, (long long)((uint64_t)now - (uint64_t)sent->sent_ns));
    histogram_count(c->from_plan, (long long)((uint64_t)now - (uint64_t)sent->planned_ns));
    c->session->acked++;
    if (seq == NONE) c->session->acked_unnumbered++;
    else if (raise_to(c->acked_seq, sent->label, seq) < 0) return -1;
    return call_hook(c, s_on_answer, NULL);
}

/* The room of an event as the session's label; NULL if it is not a plain text, or with an error. */
static PyObject *label_of(const Core *c, const Value *v) {
    if (v->is != TEXT || v->escaped) return NULL;
    PyObject *name = name_of(v->p, v->size), *label = NULL;
    if (name != NULL) label = Py_XNewRef(PyDict_GetItemWithError(c->envelope->labels, name));
    if (label != NULL || PyErr_Occurred()) {
        Py_XDECREF(name);
        return label;
    }
    return name;
}

/* The number of a sender in this journal: 1 found, 0 not mine (a new name is interned by Python), -1 an error. */
static int sender_of(const Core *c, const Value *v, int64_t *sender) {
    long long number = 0;
    if (v->is != TEXT || v->escaped) return 0;
    PyObject *name = name_of(v->p, v->size);
    if (name == NULL) return -1;
    PyObject *known = PyDict_GetItemWithError(c->names, name);
    Py_DECREF(name);
    if (known == NULL && PyErr_Occurred()) return -1;
    if (!as_number(known, UINT32_MAX, &number)) return 0;
    *sender = number;
    return 1;
}

/* What a frame says, once it is known to be mine. */
typedef struct { int64_t seq, sender; const uint8_t *p; Py_ssize_t size; Body body; PyObject *label; } Heard;

/* Read a message without changing anything: 1 mine, 0 not, -1 an error. `heard->label` is a reference, or NULL. */
static int read_message(Core *c, const Scan *s, const Meaning *m, Heard *h) {
    const Value *text = &s->values[m->text], *id = m->id < 0 ? NULL : &s->values[m->id];
    int known;
    Py_ssize_t tag_size;
    long long conv = 0;
    *h = (Heard){NONE, NONE, text->p, text->size, {0}, NULL};
    if (text->is != TEXT || (id != NULL && id->is != ABSENT && (id->is != TEXT || id->escaped))) return 0;
    if (m->seq >= 0) {
        if (s->values[m->seq].is != NUMBER || s->values[m->seq].number < 0) return 0;
        h->seq = s->values[m->seq].number;
    }
    if (m->sender >= 0 && (known = sender_of(c, &s->values[m->sender], &h->sender)) != 1) return known;
    if (text->escaped) {
        h->p = said;
        if ((h->size = unescape(text)) < 0) return 0;
    }
    const char *tag = PyUnicode_AsUTF8AndSize(c->tag, &tag_size);
    if (tag == NULL) return -1;
    if (!read_body(h->p, h->size, tag, tag_size, &h->body)) return 0;
    if (m->room < 0) return 1;
    if ((h->label = label_of(c, &s->values[m->room])) == NULL) return PyErr_Occurred() ? -1 : 0;
    PyObject *planned = PyDict_GetItemWithError(c->rooms, h->label);
    if (planned == NULL && PyErr_Occurred()) return -1;
    return as_number(planned, UINT32_MAX, &conv) && (uint64_t)conv == h->body.conv;
}

/* The event of a message as `Heard` in client/events.py, for the hook. */
static PyObject *event_of(const Scan *s, const Meaning *m, const Heard *h) {
    const Value *from = m->sender < 0 ? NULL : &s->values[m->sender], *id = m->id < 0 ? NULL : &s->values[m->id];
    PyObject *sender = from == NULL ? Py_NewRef(Py_None) : PyUnicode_FromStringAndSize((const char *)from->p, from->size);
    PyObject *named = id == NULL || id->is != TEXT ? Py_NewRef(Py_None)
                                                   : PyUnicode_FromStringAndSize((const char *)id->p, id->size);
    PyObject *text = PyUnicode_FromStringAndSize((const char *)h->p, h->size); /* now: a tuple may call a finalizer */
    return Py_BuildValue("(iONLNNO)", MESSAGE, h->label == NULL ? Py_None : h->label, text, (long long)h->seq, sender,
                         named, Py_None);
}

/* Record a message that is mine, in the order of ChatSession._message. `sent`: the own message that it answers. */
static int record_message(Core *c, int64_t now, const Heard *h, PyObject *id, const Sent *sent) {
    const Body *b = &h->body;
    int numbered = h->label != NULL && h->seq != NONE;
    c->frames++;
    pen_put(c->pen, now, DELIVER, 0, (uint8_t)b->attempt, (uint8_t)b->proc, c->client, c->conn, (uint32_t)b->conv,
            (uint32_t)b->author, (uint32_t)b->counter, h->seq, h->sender, (uint32_t)h->size, b->digest);
    c->session->heard_count++;
    if (numbered && raise_to(c->seen, h->label, h->seq) < 0) return -1;
    if (b->author != c->client) return 1;
    c->session->own_heard++;
    if (numbered && raise_to(c->acked_seq, h->label, h->seq) < 0) return -1;
    return id == NULL || acknowledged(c, now, h->seq, id, sent) == 0 ? 1 : -1;
}

/* One message: 1 recorded, 0 not mine, -1 an error. */
static int message(Core *c, int64_t now, const Scan *s, const Meaning *m) {
    PyObject *id = NULL, *event = NULL, *hook = NULL;
    Heard h;
    Sent sent = {.tuple = NULL};
    int result = read_message(c, s, m, &h);
    if (result == 1 && h.body.author == c->client && c->ack_by_echo) {
        id = own_id(c, (uint32_t)h.body.counter);
        /* An echo of a message that waits no longer is not usual. */
        result = id == NULL ? -1 : find_sent(c, id, &sent);
    }
    if (result == 1 && (hook = PyObject_GetAttr((PyObject *)c->session, s_on_message)) == NULL) result = -1;
    if (result == 1 && hook != Py_None && (event = event_of(s, m, &h)) == NULL) result = -1;
    if (result == 1 && !pen_room(c->pen, 1 + (id != NULL))) result = 0;
    if (result == 1) result = record_message(c, now, &h, id, &sent);
    if (result == 1 && event != NULL && call_hook(c, s_on_message, event) < 0) result = -1;
    Py_XDECREF(h.label);
    Py_XDECREF(sent.tuple);
    Py_XDECREF(id);
    Py_XDECREF(event);
    Py_XDECREF(hook);
    return result;
}

/* One acknowledgement: 1 recorded, 0 not mine, -1 an error. */
static int answer(Core *c, int64_t now, const Scan *s, const Meaning *m) {
    int64_t seq = NONE;
    Sent sent = {.tuple = NULL};
    if (m->id < 0 || s->values[m->id].is != TEXT || s->values[m->id].escaped) return 0;
    if (m->room >= 0 && s->values[m->room].is != TEXT) return 0;
    if (m->seq >= 0) {
        if (s->values[m->seq].is != NUMBER || s->values[m->seq].number < 0) return 0;
        seq = s->values[m->seq].number;
    }
    PyObject *id = PyUnicode_FromStringAndSize((const char *)s->values[m->id].p, s->values[m->id].size);
    if (id == NULL) return -1;
    int result = find_sent(c, id, &sent);
    if (result == 1 && !pen_room(c->pen, 1)) result = 0;
    if (result == 1) {
        c->frames++;
        if (acknowledged(c, now, seq, id, &sent) < 0) result = -1;
    }
    Py_XDECREF(sent.tuple);
    Py_DECREF(id);
    return result;
}

/* Take the usual frames of `data` from byte `at` on; return where the first byte is that was not taken, -1 for an error.
   `frames` and `next` say more. */
static Py_ssize_t take_frames(Core *c, int64_t now, const uint8_t *data, Py_ssize_t at, Py_ssize_t end) {
    int taken = 1;
    c->frames = c->next = 0;
    if (c->busy) return at;
    c->busy = 1;
    while (end - at >= 2) {
        const uint8_t *p = data + at;
        Py_ssize_t head = 2, size = p[1];
        if (size > 126) break; /* a long frame, or a masked one */
        if (size == 126) {
            if (end - at < 4) break;
            head = 4;
            size = p[2] << 8 | p[3];
        }
        if (end - at < head + size) break;
        Scan s;
        const Meaning *m = NULL;
        if (p[0] == 0x81 && size <= FRAME_MAX && size <= c->frame_max) m = scan_frame(&s, c->envelope, p + head, size);
        taken = m == NULL ? 0 : m->what == MESSAGE ? message(c, now, &s, m) : m->what == ACK ? answer(c, now, &s, m) : 0;
        if (taken != 1) {
            c->next = head + size;
            break;
        }
        c->session->frames_recorded++;
        at += head + size;
    }
    c->busy = 0;
    return taken < 0 ? -1 : at;
}

/* receive(now_ns, data, at) -> where the first byte is that was not taken. */
static PyObject *core_receive(PyObject *self, PyObject *const *args, Py_ssize_t given) {
    char *data;
    Py_ssize_t end;
    if (given != 3) return PyErr_Format(PyExc_TypeError, "receive takes 3 arguments");
    long long now = PyLong_AsLongLong(args[0]), at = PyLong_AsLongLong(args[2]);
    if (PyErr_Occurred() || PyBytes_AsStringAndSize(args[1], &data, &end) < 0) return NULL;
    if (at < 0 || at > end) return PyErr_Format(PyExc_ValueError, "the data has no byte %lld", at);
    Py_ssize_t stopped = take_frames((Core *)self, now, (const uint8_t *)data, (Py_ssize_t)at, end);
    return stopped < 0 ? NULL : PyLong_FromSsize_t(stopped);
}

#ifdef __linux__
/* pull(fd) -> read a socket that does not block: 0 at its end, None if there is nothing, the number of bytes if all were
   taken, else those that were not. `got` bytes were read at `now`; the clock is that of time.monotonic_ns. */
static PyObject *core_pull(PyObject *self, PyObject *fd) {
    static uint8_t data[65536];
    static int used;
    Core *c = (Core *)self;
    long socket = PyLong_AsLong(fd);
    struct timespec clock;
    c->got = c->frames = 0;
    if (socket == -1 && PyErr_Occurred()) return NULL;
    if (used) Py_RETURN_NONE; /* it will be called again while there is something to read */
    ssize_t n = recv((int)socket, data, sizeof data, 0);
    clock_gettime(CLOCK_MONOTONIC, &clock);
    c->now = clock.tv_sec * 1000000000LL + clock.tv_nsec;
    if (n < 0 && (errno == EAGAIN || errno == EWOULDBLOCK || errno == EINTR)) Py_RETURN_NONE;
    if (n <= 0) return PyLong_FromLong(0);
    c->got = n;
    used = 1;
    Py_ssize_t at = take_frames(c, c->now, data, 0, n);
    PyObject *result = at < 0 ? NULL : at == n ? PyLong_FromSsize_t(n) : PyBytes_FromStringAndSize((char *)data + at, n - at);
    used = 0;
    return result;
}
#endif

/* -- sending -------------------------------------------------------------------------------------------------------- */

/* A text as JSON without its quotation marks; 0 if it has characters whose escapes are not known here. */
static int put_escaped(Sink *out, const uint8_t *p, Py_ssize_t size) {
    static const char plain[] = "\"\\\b\f\n\r\t", named[] = "\"\\bfnrt";
    for (Py_ssize_t n = 0; n < size; n++) {
        const char *found = p[n] == 0 ? NULL : p[n] < 0x20 || p[n] == '"' || p[n] == '\\' ? strchr(plain, p[n]) : NULL;
        if (found != NULL) {
            if (!put_char(out, '\\') || !put_char(out, named[found - plain])) return 0;
        } else if (p[n] < 0x20 || !put_char(out, (char)p[n])) {
            return 0;
        }
    }
    return 1;
}

static int put_field(Sink *out, const uint8_t *p, Py_ssize_t size, int quoted) {
    if (quoted == RAW) return put_bytes(out, p, size);
    if (quoted == INNER) return put_escaped(out, p, size);
    return put_char(out, '"') && put_escaped(out, p, size) && put_char(out, '"');
}

/* Write a body to `said`; return its size, 0 if it does not fit. */
static Py_ssize_t put_body(const Core *c, uint32_t conv, uint32_t counter, uint32_t proc, const char *payload,
                           Py_ssize_t size, uint32_t *digest) {
    Sink out = {said, said + FRAME_MAX};
    Py_ssize_t tag_size;
    const char *tag = PyUnicode_AsUTF8AndSize(c->tag, &tag_size);
    if (tag == NULL || !put_bytes(&out, "ew1:", 4) || !put_bytes(&out, tag, tag_size) || !put_char(&out, ':')
        || !put_number(&out, c->client) || !put_char(&out, ':') || !put_number(&out, conv) || !put_char(&out, ':')
        || !put_number(&out, counter) || !put_char(&out, ':')) return 0;
    *digest = crc32_on(crc32_on(0, said + 4, out.at - said - 4), (const uint8_t *)payload, size);
    char hex[10];
    hex[0] = hex[9] = ':';
    for (int k = 0; k < 8; k++) hex[1 + k] = "0123456789abcdef"[*digest >> (28 - 4 * k) & 15];
    if (!put_number(&out, proc) || !put_bytes(&out, ".1", 2) || !put_bytes(&out, hex, 10) || !put_bytes(&out, payload, size))
        return 0;
    return out.at - said;
}

/* Write the payload of a frame to `frame`; return its size, 0 if it is not for here. */
static Py_ssize_t put_frame(const Core *c, PyObject *label, PyObject *id, Py_ssize_t body_size) {
    Sink out = {frame, frame + sizeof frame};
    for (int n = 0; n < c->envelope->pieces; n++) {
        const Piece *piece = &c->envelope->piece[n];
        const char *p = (const char *)said;
        Py_ssize_t size = body_size;
        char *literal;
        if (piece->literal != NULL) {
            if (PyBytes_AsStringAndSize(piece->literal, &literal, &size) < 0 || !put_bytes(&out, literal, size)) return 0;
            continue;
        }
        if (piece->field != BODY && (p = PyUnicode_AsUTF8AndSize(piece->field == LABEL ? label : id, &size)) == NULL)
            return 0;
        if (!put_field(&out, (const uint8_t *)p, size, piece->quoted)) return 0;
    }
    return out.at - frame;
}

static uint8_t keys[4096];
static size_t keys_used = sizeof keys;

/* Take a key. They are unpredictable (RFC 6455 §5.3), and one system call brings a thousand of them. */
static int take_key(uint8_t key[4]) {
    char *bytes;
    Py_ssize_t got;
    if (keys_used < sizeof keys) {
        memcpy(key, keys + keys_used, 4);
        keys_used += 4;
        return 1;
    }
    PyObject *fresh = PyObject_CallFunction(urandom, "i", (int)sizeof keys);
    int fine = fresh != NULL && PyBytes_AsStringAndSize(fresh, &bytes, &got) == 0 && got == sizeof keys;
    if (fine) {
        memcpy(keys, bytes, sizeof keys);
        memcpy(key, keys, 4);
        keys_used = 4;
    }
    Py_XDECREF(fresh);
    return fine;
}

/* The payload in `frame` as one masked text frame. */
static PyObject *masked(Py_ssize_t size, const uint8_t key[4]) {
    Py_ssize_t head = size < 126 ? 2 : 4;
    PyObject *made = PyBytes_FromStringAndSize(NULL, head + 4 + size);
    if (made == NULL) return NULL;
    uint8_t *out = (uint8_t *)PyBytes_AsString(made);
    *out++ = 0x81;
    *out++ = (uint8_t)(0x80 | (size < 126 ? size : 126));
    if (head == 4) {
        *out++ = (uint8_t)(size >> 8);
        *out++ = (uint8_t)size;
    }
    memcpy(out, key, 4);
    out += 4;
    uint64_t wide, word;
    memcpy(&wide, key, 4);
    memcpy((uint8_t *)&wide + 4, key, 4);
    Py_ssize_t n = 0;
    for (; n + 8 <= size; n += 8) {
        memcpy(&word, frame + n, 8);
        word ^= wide;
        memcpy(out + n, &word, 8);
    }
    for (; n < size; n++) out[n] = frame[n] ^ key[n & 3];
    return made;
}

/* A message under way, as `Sent` in client/outbox.py. */
static PyObject *new_sent(uint32_t counter, long long conv, uint32_t proc, PyObject *label, PyObject *payload,
                          PyObject *sent_ns, PyObject *planned_ns) {
    PyObject *parts[] = {PyLong_FromLongLong(counter), PyLong_FromLong(1), PyLong_FromLongLong(conv), PyLong_FromLong(proc),
                         Py_NewRef(label), Py_NewRef(payload), Py_NewRef(sent_ns), Py_NewRef(planned_ns)};
    PyObject *tuple = PyTuple_New(8);
    int whole = tuple != NULL;
    for (int n = 0; n < 8; n++) {
        whole = whole && parts[n] != NULL;
        if (tuple != NULL) PyTuple_SetItem(tuple, n, parts[n]); /* takes the reference, also that of none */
        else Py_XDECREF(parts[n]);
    }
    if (!whole) Py_CLEAR(tuple);
    else PyObject_GC_UnTrack(tuple); /* numbers and texts make no circles */
    return tuple;
}

static PyObject *not_mine(void) {
    PyErr_Clear();
    Py_RETURN_NONE;
}

/* send(now_ns, label, payload, planned_ns) -> one frame as bytes, or None: then nothing has been changed. */
static PyObject *core_send(PyObject *self, PyObject *const *args, Py_ssize_t given) {
    Core *c = (Core *)self;
    Counts *session = c->session;
    long long conv, seen = NONE;
    uint32_t digest = 0;
    uint8_t key[4];
    Py_ssize_t size, body_size;
    if (given != 4) return PyErr_Format(PyExc_TypeError, "send takes 4 arguments");
    PyObject *label = args[1], *payload = args[2], *planned = args[3] == Py_None ? args[0] : args[3];
    long long now = PyLong_AsLongLong(args[0]), planned_ns = PyLong_AsLongLong(planned);
    if (PyErr_Occurred()) return NULL;
    if (!planned_ns) planned = args[0];
    if (!session->connected_now || !c->envelope->pieces || session->counter < 0 || session->counter >= UINT32_MAX
        || !PyUnicode_Check(label) || !PyUnicode_Check(payload) || !pen_room(c->pen, 1)) Py_RETURN_NONE;
    if (!take_key(key)) return not_mine();
    if (!as_number(PyDict_GetItemWithError(c->rooms, label), INT32_MAX, &conv)) return not_mine();
    PyObject *last = PyDict_GetItemWithError(c->seen, label);
    if (PyErr_Occurred() || (last != NULL && !as_number(last, INT64_MAX, &seen))) return not_mine();
    uint32_t counter = (uint32_t)(session->counter + 1), proc = (uint32_t)((c->conn + session->abandoned) & 255);
    const char *text = PyUnicode_AsUTF8AndSize(payload, &size);
    if (text == NULL || !(body_size = put_body(c, (uint32_t)conv, counter, proc, text, size, &digest))) return not_mine();

    PyObject *id = own_id(c, counter), *made = NULL, *sent = NULL;
    Py_ssize_t frame_size = id == NULL ? 0 : put_frame(c, label, id, body_size);
    if (frame_size == 0 || frame_size > 65535) {
        Py_XDECREF(id);
        return not_mine();
    }
    made = masked(frame_size, key);
    if (made != NULL) sent = new_sent(counter, conv, proc, label, payload, args[0], planned);
    /* The record comes before the bytes, so whoever receives them can rely on it. */
    if (sent != NULL && PyDict_SetItem(c->pending, id, sent) == 0) {
        pen_put(c->pen, now, INVOKE, 0, 1, (uint8_t)proc, c->client, c->conn, (uint32_t)conv, c->client, counter, NONE, seen,
                (uint32_t)body_size, digest);
        session->counter = counter;
    } else {
        Py_CLEAR(made);
    }
    Py_XDECREF(sent);
    Py_DECREF(id);
    return made;
}

#ifdef __linux__
/* post(fd, now_ns, label, payload, planned_ns) -> as send, and write the frame to a socket that does not block. Returns the
   size of the frame if it was written (or the socket is broken, which its reader will see), else the frame, of which
   `written` bytes were. */
static PyObject *core_post(PyObject *self, PyObject *const *args, Py_ssize_t given) {
    Core *c = (Core *)self;
    char *bytes;
    Py_ssize_t size;
    if (given != 5) return PyErr_Format(PyExc_TypeError, "post takes 5 arguments");
    long socket = PyLong_AsLong(args[0]);
    if (socket == -1 && PyErr_Occurred()) return NULL;
    PyObject *made = core_send(self, args + 1, 4);
    if (made == NULL || made == Py_None) return made;
    if (PyBytes_AsStringAndSize(made, &bytes, &size) < 0) return NULL;
    ssize_t n = send((int)socket, bytes, (size_t)size, MSG_NOSIGNAL | MSG_DONTWAIT);
    int later = n < 0 && (errno == EAGAIN || errno == EWOULDBLOCK || errno == EINTR);
    c->written = n < 0 ? 0 : n;
    if (n < 0 ? later : n < size) return made;
    Py_DECREF(made);
    return PyLong_FromSsize_t(size);
}
#endif

/* -- making one ----------------------------------------------------------------------------------------------------- */

static int core_init(PyObject *self, PyObject *args, PyObject *named) {
    Core *c = (Core *)self;
    PyObject *session, *pen, *envelope, *latency, *from_plan, *tag, *rooms, *seen, *acked, *pending, *unanswered, *posted,
        *open, *names;
    (void)named;
    if (c->session != NULL) return PyErr_SetString(PyExc_TypeError, "a core is made once"), -1;
    if (!PyArg_ParseTuple(args, "O!O!O!O!O!UO!O!O!O!O!O!O!O!IIpL", Counts_type, &session, Pen_type, &pen, Envelope_type,
                          &envelope, Histogram_type, &latency, Histogram_type, &from_plan, &tag, &PyDict_Type, &rooms,
                          &PyDict_Type, &seen, &PyDict_Type, &acked, &PyDict_Type, &pending, &PyDict_Type, &unanswered,
                          &PySet_Type, &posted, &PyDict_Type, &open, &PyDict_Type, &names, &c->client, &c->conn,
                          &c->ack_by_echo, &c->frame_max)) return -1;
    Py_ssize_t tag_size;
    if (PyUnicode_AsUTF8AndSize(tag, &tag_size) == NULL) return -1;
    if (tag_size > TAG_MAX) return PyErr_SetString(PyExc_ValueError, "the tag of the run is too long"), -1;
    c->session = (Counts *)Py_NewRef(session);
    c->pen = (Pen *)Py_NewRef(pen);
    c->envelope = (Envelope *)Py_NewRef(envelope);
    c->latency = (Histogram *)Py_NewRef(latency);
    c->from_plan = (Histogram *)Py_NewRef(from_plan);
    c->tag = Py_NewRef(tag);
    c->rooms = Py_NewRef(rooms);
    c->seen = Py_NewRef(seen);
    c->acked_seq = Py_NewRef(acked);
    c->pending = Py_NewRef(pending);
    c->unanswered = Py_NewRef(unanswered);
    c->posted = Py_NewRef(posted);
    c->open = Py_NewRef(open);
    c->names = Py_NewRef(names);
    return 0;
}

static int core_traverse(PyObject *self, visitproc visit, void *arg) {
    Core *c = (Core *)self;
    Py_VISIT(Py_TYPE(self));
    Py_VISIT(c->session);
    Py_VISIT(c->pen);
    Py_VISIT(c->envelope);
    Py_VISIT(c->rooms);
    Py_VISIT(c->seen);
    Py_VISIT(c->acked_seq);
    Py_VISIT(c->pending);
    Py_VISIT(c->unanswered);
    Py_VISIT(c->posted);
    Py_VISIT(c->open);
    Py_VISIT(c->names);
    return 0;
}

/* Nothing is cleared in a circle: a core without its parts could be called. Its session is what breaks the circle. */
static void core_dealloc(PyObject *self) {
    Core *c = (Core *)self;
    PyTypeObject *type = Py_TYPE(self);
    PyObject *parts[] = {(PyObject *)c->session, (PyObject *)c->pen, (PyObject *)c->envelope, (PyObject *)c->latency,
                         (PyObject *)c->from_plan, c->tag, c->rooms, c->seen, c->acked_seq, c->pending, c->unanswered,
                         c->posted, c->open, c->names};
    PyObject_GC_UnTrack(self);
    for (size_t n = 0; n < sizeof parts / sizeof *parts; n++) Py_XDECREF(parts[n]);
    ((freefunc)PyType_GetSlot(type, Py_tp_free))(self);
    Py_DECREF(type);
}

static PyMemberDef core_members[] = {
    {"frames", T_LONGLONG, offsetof(Core, frames), READONLY, NULL},
    {"next", T_LONGLONG, offsetof(Core, next), READONLY, NULL}, {"now", T_LONGLONG, offsetof(Core, now), READONLY, NULL},
    {"got", T_LONGLONG, offsetof(Core, got), READONLY, NULL},
    {"written", T_LONGLONG, offsetof(Core, written), READONLY, NULL}, {NULL, 0, 0, 0, NULL}};
static PyMethodDef core_methods[] = {
    {"receive", (PyCFunction)(void (*)(void))core_receive, METH_FASTCALL, "Record the usual frames that come next."},
    {"send", (PyCFunction)(void (*)(void))core_send, METH_FASTCALL, "Record one message and return its frame, or None."},
#ifdef __linux__
    {"pull", core_pull, METH_O, "Read a socket, and record the usual frames of it."},
    {"post", (PyCFunction)(void (*)(void))core_post, METH_FASTCALL, "Record one message, and write its frame to a socket."},
#endif
    {NULL, NULL, 0, NULL}};
static PyType_Slot core_slots[] = {
    {Py_tp_init, core_init}, {Py_tp_dealloc, core_dealloc}, {Py_tp_traverse, core_traverse}, {Py_tp_members, core_members},
    {Py_tp_methods, core_methods}, {0, NULL}};
static PyType_Spec core_spec = {
    "earwitness.harness.native._hot.Core", sizeof(Core), 0, Py_TPFLAGS_DEFAULT | Py_TPFLAGS_HAVE_GC, core_slots};

static PyTypeObject *add_type(PyObject *module, PyType_Spec *spec, const char *name) {
    PyObject *type = PyType_FromSpec(spec);
    if (type != NULL && PyModule_AddObjectRef(module, name, type) < 0) Py_CLEAR(type);
    return (PyTypeObject *)type;
}

static struct PyModuleDef module_def = {
    PyModuleDef_HEAD_INIT, "_hot", "Hot path of the WebSocket client.", -1, NULL, NULL, NULL, NULL, NULL};

PyMODINIT_FUNC PyInit__hot(void) {
    PyObject *module = PyModule_Create(&module_def), *library = PyImport_ImportModule("struct");
    crc_prepare();
    struct_error = library == NULL ? NULL : PyObject_GetAttrString(library, "error");
    Py_XDECREF(library);
    library = PyImport_ImportModule("os");
    urandom = library == NULL ? NULL : PyObject_GetAttrString(library, "urandom");
    Py_XDECREF(library);
    s_on_answer = PyUnicode_InternFromString("on_answer");
    s_on_message = PyUnicode_InternFromString("on_message");
    if (module == NULL || struct_error == NULL || urandom == NULL || s_on_answer == NULL || s_on_message == NULL
        || (Counts_type = add_type(module, &counts_spec, "Counts")) == NULL
        || (Histogram_type = add_type(module, &histogram_spec, "Histogram")) == NULL
        || (Pen_type = add_type(module, &pen_spec, "Pen")) == NULL
        || (Envelope_type = add_type(module, &envelope_spec, "Envelope")) == NULL
        || add_type(module, &core_spec, "Core") == NULL || PyModule_AddIntConstant(module, "VERSION", VERSION) < 0) {
        Py_XDECREF(module);
        return NULL;
    }
    return module;
}
