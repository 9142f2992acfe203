/* Hot path of the WebSocket client: records, frames, envelopes, bodies and histograms of the usual messages.

   The Python path is the definition of what is right. Here is only what is usual: one whole text frame, one JSON object,
   one event with all of its fields, a sound body of this run, names that are known, room left in the block of the journal.
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

#define VERSION 4 /* as in harness/native/__init__.py: a file of another version is not used */

enum { RECORD = 64, FRAME_MAX = 16384, PATHS = 32, PARTS = 4, NAME = 48, KINDS = 16, SLOTS = 6, PIECES = 12, DEPTH = 12,
       TABLE = 1024, TAG_MAX = 64, FIRSTS = 64, MEMBERS = 64, FRAMED_MAX = 131072 };
enum { KEPT = 1000, OPEN_MAX = 1000 };                  /* as in client/outbox.py, client/streams.py */
enum { MESSAGE = 1, ACK, NACK, WELCOME, JOINED, LEFT, REPLAYED, AGENT, UNKNOWN, MARKED, EDITED, PRESENCE, PROFILE };
                                                        /* as in client/events.py */
enum { K_INVOKE = 1, K_OK, K_FAIL, K_INFO, K_DELIVER, K_CONNECT, K_DISCONNECT, K_JOIN, K_LEAVE, K_IDENTITY, K_RUN = 20,
       K_SEEN = 25, K_PRESENCE = 26 };                  /* kinds, flags, places, states as in checks/history/record.py */
enum { CORRUPT = 1, OWN = 4, CONTINUED = 8, FOREIGN_RUN = 16, REFUSED_JOIN = 128 };
enum { SOCKET = 3, PROFILE_STATE = 1, READ_MARK = 3, EDIT = 4 };
enum { ABSENT, TEXT, NUMBER, FRACTION, OBJECT, YES, NO, NOTHING, OTHER }; /* what a value of the envelope is */
enum { LABEL, ID, BODY };                               /* fields of a frame that is sent */
enum { RAW, INNER, JSON };                              /* how such a field is quoted */
#define NONE (-1LL)
#define NOBODY 0xFFFFFFFFu
#define AN_AGENT 0xFFFFFFFEu

static PyTypeObject *Counts_type, *Histogram_type, *Pen_type, *Envelope_type, *Message_type;
static PyObject *struct_error, *urandom, *names_table[TABLE];
/* Only used between two calls of Python code, so that the lock of the interpreter is enough. */
static uint8_t said[FRAME_MAX], frame[2 * FRAME_MAX], framed[65536 + 8];

#include "texts.h"
#include "records.h"
#include "scan.h"
#include "core.h"
#include "inbox.h"
#include "rare.h"
#include "send.h"

/* -- receiving ------------------------------------------------------------------------------------------------------ */

/* One frame that was scanned: 1 recorded, 0 not mine, -1 an error. */
static int take(Core *c, int64_t now, const Scan *s, const Meaning *m) {
    int begun = has_begun(c);
    if (begun < 0 || (!begun && m->what != WELCOME)) return begun;
    switch (m->what) {
    case MESSAGE: return message(c, now, s, m);
    case ACK: return answer(c, now, s, m);
    case NACK: return refusal(c, now, s, m);
    case WELCOME: return greeting(c, now, s, m);
    case JOINED: return join(c, now, s, m);
    case LEFT: return leave(c, now, s, m);
    case AGENT: return agent_said(c, now, s, m);
    case MARKED: return mark(c, now, s, m);
    case EDITED: return edit(c, now, s, m);
    case PRESENCE: return presence(c, now, s, m);
    case PROFILE: return profile(c, now, s, m);
    default: return 0;
    }
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
        taken = m == NULL ? 0 : take(c, now, &s, m);
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
    c->got = c->frames = 0;
    if (socket == -1 && PyErr_Occurred()) return NULL;
    if (used) Py_RETURN_NONE; /* it will be called again while there is something to read */
    ssize_t n = recv((int)socket, data, sizeof data, 0);
    c->now = clock_ns();
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

/* -- making one ----------------------------------------------------------------------------------------------------- */

static int core_init(PyObject *self, PyObject *args, PyObject *named) {
    Core *c = (Core *)self;
    PyObject *session, *pen, *envelope, *latency, *from_plan, *tag, *rooms, *seen, *acked, *pending, *posted, *open, *names,
        *agents;
    int by_echo, strangers;
    (void)named;
    if (c->session != NULL) return PyErr_SetString(PyExc_TypeError, "a core is made once"), -1;
    if (!PyArg_ParseTuple(args, "O!O!O!O!O!UO!O!O!O!O!O!O!O!IIppL", Counts_type, &session, Pen_type, &pen, Envelope_type,
                          &envelope, Histogram_type, &latency, Histogram_type, &from_plan, &tag, &PyDict_Type, &rooms,
                          &PyDict_Type, &seen, &PyDict_Type, &acked, &PyDict_Type, &pending, &PySet_Type, &posted,
                          &PyDict_Type, &open, &PyDict_Type, &names, &PyFrozenSet_Type, &agents, &c->client, &c->conn,
                          &by_echo, &strangers, &c->frame_max)) return -1;
    c->ack_by_echo = (char)by_echo;
    c->strangers = (char)strangers;
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
    c->posted = Py_NewRef(posted);
    c->open = Py_NewRef(open);
    c->names = Py_NewRef(names);
    c->agents = Py_NewRef(agents);
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
                         (PyObject *)c->from_plan, c->tag, c->rooms, c->seen, c->acked_seq, c->pending, c->posted, c->open,
                         c->names, c->agents};
    PyObject_GC_UnTrack(self);
    for (size_t n = 0; n < sizeof parts / sizeof *parts; n++) Py_XDECREF(parts[n]);
    ((freefunc)PyType_GetSlot(type, Py_tp_free))(self);
    Py_DECREF(type);
}

static PyMemberDef core_members[] = {
    {"frames", T_LONGLONG, offsetof(Core, frames), READONLY, NULL},
    {"next", T_LONGLONG, offsetof(Core, next), READONLY, NULL}, {"now", T_LONGLONG, offsetof(Core, now), READONLY, NULL},
    {"got", T_LONGLONG, offsetof(Core, got), READONLY, NULL},
    {"written", T_LONGLONG, offsetof(Core, written), READONLY, NULL},
    {"sent", T_LONGLONG, offsetof(Core, sent), READONLY, NULL}, {"made", T_LONGLONG, offsetof(Core, made), READONLY, NULL},
    {NULL, 0, 0, 0, NULL}};
static PyMethodDef core_methods[] = {
    {"receive", (PyCFunction)(void (*)(void))core_receive, METH_FASTCALL, "Record the usual frames that come next."},
    {"send", (PyCFunction)(void (*)(void))core_send, METH_FASTCALL, "Record one message and return its frame, or None."},
    {"again", (PyCFunction)(void (*)(void))core_again, METH_FASTCALL, "Record a message as sent again; return its frame, or None."},
#ifdef __linux__
    {"pull", core_pull, METH_O, "Read a socket, and record the usual frames of it."},
    {"post", (PyCFunction)(void (*)(void))core_post, METH_FASTCALL, "Record one message, and write its frame to a socket."},
    {"post_many", (PyCFunction)(void (*)(void))core_post_many, METH_FASTCALL, "Record messages, write their frames to a socket."},
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

static PyMethodDef functions[] = {
    {"frame", text_frame, METH_O, "Return a text as one masked frame, or None if it is too long or no Unicode."},
    {NULL, NULL, 0, NULL}};
static struct PyModuleDef module_def = {
    PyModuleDef_HEAD_INIT, "_hot", "Hot path of the WebSocket client.", -1, functions, NULL, NULL, NULL, NULL};

PyMODINIT_FUNC PyInit__hot(void) {
    PyObject *module = PyModule_Create(&module_def), *library = PyImport_ImportModule("struct");
    crc_prepare();
    struct_error = library == NULL ? NULL : PyObject_GetAttrString(library, "error");
    Py_XDECREF(library);
    library = PyImport_ImportModule("os");
    urandom = library == NULL ? NULL : PyObject_GetAttrString(library, "urandom");
    Py_XDECREF(library);
    int whole = module != NULL && struct_error != NULL && urandom != NULL;
    for (int n = 0; n < ATTRIBUTES; n++)
        whole = (attributes[n] = PyUnicode_InternFromString(attribute_texts[n])) != NULL && whole;
    if (!whole
        || (Counts_type = add_type(module, &counts_spec, "Counts")) == NULL
        || (Histogram_type = add_type(module, &histogram_spec, "Histogram")) == NULL
        || (Pen_type = add_type(module, &pen_spec, "Pen")) == NULL
        || (Envelope_type = add_type(module, &envelope_spec, "Envelope")) == NULL
        || (Message_type = add_type(module, &message_spec, "Message")) == NULL
        || add_type(module, &core_spec, "Core") == NULL || PyModule_AddIntConstant(module, "VERSION", VERSION) < 0) {
        Py_XDECREF(module);
        return NULL;
    }
    return module;
}
