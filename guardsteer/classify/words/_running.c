/* The compiled twin of running.py: what one row has read of a text, and its running sums.

   Behind a model's pass nothing of ours is left in the processor's caches. What costs then is how many places
   in memory a step touches one after the other: numbers that are objects, code that is looked up. Here the
   counts of a row are one table of pairs, a change of them is one piece of memory, and what touches the table
   does not wait for itself. Sums are added in the order in which running.py adds them, in double precision.

   Everything that needs to know how text becomes n-grams is left to the classifier, in Python. Holders of a
   Running take care that no two threads use it at a time; the interpreter's lock is held throughout. */

#define Py_LIMITED_API 0x030b0000
#define PY_SSIZE_T_CLEAN
#include <Python.h>
#include <math.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>
#include <structmember.h>

enum { PLAIN, PROPORTIONAL, SUBLINEAR, BINARY, KINDS };
enum { SIGMOID, SOFTMAX, ONE_VS_REST, ACTIVATIONS };

static const Py_UCS4 CAPITAL_SIGMA = 0x3A3;
/* As linear.py has them. */
static const double NO_NORM = 1e-12;
static const double FAR_OUT = 700.0;

enum { FEW = 128, FIRST_CELLS = 128, HELD_OBJECTS = 10 };

/* As running.py has it: raised in both whenever what they say to each other changes. */
enum { VERSION = 2 };

static PyTypeObject *pack_type;
static PyObject *name_miss, *name_slowly, *name_behind;

/* --- packs ------------------------------------------------------------------------------------------------ */

typedef struct {
    int32_t feature;
    int32_t step;
    double slope; /* or, where values are curved, the squared idf */
} Change;

/* In ``data``: what is added to each product, then the changes; where values are curved, the changes and then,
   for each output, weight times idf of each feature. */
typedef struct {
    PyObject_VAR_HEAD
    int32_t count;
    int32_t outputs;
    int32_t curved;
    double growth;
    double data[1];
} Pack;

static const Py_ssize_t CHANGE_SIZE = sizeof(Change) / sizeof(double);

static int
view_of(PyObject *given, Py_ssize_t item, const char *name, Py_buffer *view)
{
    if (PyObject_GetBuffer(given, view, PyBUF_CONTIG_RO) < 0)
        return -1;
    if (view->itemsize == item)
        return 0;
    PyErr_Format(PyExc_TypeError, "%s: items of %zd bytes, expected %zd", name, view->itemsize, item);
    PyBuffer_Release(view);
    return -1;
}

static Pack *
new_pack(Py_ssize_t units, Py_ssize_t count, Py_ssize_t outputs, double growth)
{
    allocfunc alloc = (allocfunc)PyType_GetSlot(pack_type, Py_tp_alloc);
    Pack *pack = (Pack *)alloc(pack_type, units);
    if (pack == NULL)
        return NULL;
    pack->count = (int32_t)count;
    pack->outputs = (int32_t)outputs;
    pack->growth = growth;
    return pack;
}

/* Fill in a pack's changes; 0 where the three views are of one length. */
static int
fill_changes(Change *changes, const Py_buffer *features, const Py_buffer *steps, const Py_buffer *slopes)
{
    Py_ssize_t count = features->len / (Py_ssize_t)sizeof(int32_t);
    for (Py_ssize_t place = 0; place < count; place++) {
        changes[place].feature = ((const int32_t *)features->buf)[place];
        changes[place].step = ((const int32_t *)steps->buf)[place];
        changes[place].slope = ((const double *)slopes->buf)[place];
        if (changes[place].feature < 0 || changes[place].feature == INT32_MAX) {
            PyErr_Format(PyExc_ValueError, "feature %d: expected 0 to %d", (int)changes[place].feature,
                         INT32_MAX - 1);
            return -1;
        }
    }
    return 0;
}

static int
views_of(PyObject *features, PyObject *steps, PyObject *slopes, Py_buffer views[3], Py_ssize_t *count)
{
    if (view_of(features, sizeof(int32_t), "features", &views[0]) < 0)
        return -1;
    if (view_of(steps, sizeof(int32_t), "steps", &views[1]) < 0) {
        PyBuffer_Release(&views[0]);
        return -1;
    }
    if (view_of(slopes, sizeof(double), "slopes", &views[2]) < 0) {
        PyBuffer_Release(&views[0]);
        PyBuffer_Release(&views[1]);
        return -1;
    }
    *count = views[0].len / (Py_ssize_t)sizeof(int32_t);
    if (views[1].len == views[0].len && views[2].len / (Py_ssize_t)sizeof(double) == *count &&
        *count < INT32_MAX / 4)
        return 0;
    PyErr_SetString(PyExc_ValueError, "features, steps and slopes differ in length");
    for (int each = 0; each < 3; each++)
        PyBuffer_Release(&views[each]);
    return -1;
}

static void
release(Py_buffer views[3])
{
    for (int each = 0; each < 3; each++)
        PyBuffer_Release(&views[each]);
}

static PyObject *
make_pack(PyObject *module, PyObject *args)
{
    (void)module;
    PyObject *features, *steps, *slopes, *sums;
    double growth;
    if (!PyArg_ParseTuple(args, "OOOdO:pack", &features, &steps, &slopes, &growth, &sums))
        return NULL;
    Py_ssize_t count, outputs = PySequence_Size(sums);
    Py_buffer views[3];
    if (outputs < 0 || views_of(features, steps, slopes, views, &count) < 0)
        return NULL;
    Pack *pack = new_pack(outputs + count * CHANGE_SIZE, count, outputs, growth);
    if (pack != NULL && fill_changes((Change *)(pack->data + outputs), &views[0], &views[1], &views[2]) < 0)
        Py_CLEAR(pack);
    for (Py_ssize_t output = 0; pack != NULL && output < outputs; output++) {
        PyObject *sum = PySequence_GetItem(sums, output);
        pack->data[output] = sum == NULL ? -1.0 : PyFloat_AsDouble(sum);
        Py_XDECREF(sum);
        if (PyErr_Occurred())
            Py_CLEAR(pack);
    }
    release(views);
    return (PyObject *)pack;
}

static PyObject *
make_curved_pack(PyObject *module, PyObject *args)
{
    (void)module;
    PyObject *features, *steps, *squares, *columns;
    if (!PyArg_ParseTuple(args, "OOOO:curved_pack", &features, &steps, &squares, &columns))
        return NULL;
    Py_ssize_t count, outputs = PySequence_Size(columns);
    Py_buffer views[3];
    if (outputs < 0 || views_of(features, steps, squares, views, &count) < 0)
        return NULL;
    Pack *pack = new_pack(count * (CHANGE_SIZE + outputs), count, outputs, 0.0);
    if (pack != NULL)
        pack->curved = 1;
    if (pack != NULL && fill_changes((Change *)pack->data, &views[0], &views[1], &views[2]) < 0)
        Py_CLEAR(pack);
    for (Py_ssize_t output = 0; pack != NULL && output < outputs; output++) {
        Py_buffer column;
        PyObject *given = PySequence_GetItem(columns, output);
        if (given == NULL || view_of(given, sizeof(double), "columns", &column) < 0) {
            Py_XDECREF(given);
            Py_CLEAR(pack);
            break;
        }
        if (column.len / (Py_ssize_t)sizeof(double) == count) {
            memcpy(pack->data + count * (CHANGE_SIZE + output), column.buf, (size_t)column.len);
        } else {
            PyErr_SetString(PyExc_ValueError, "a column is not as long as there are features");
            Py_CLEAR(pack);
        }
        PyBuffer_Release(&column);
        Py_DECREF(given);
    }
    release(views);
    return (PyObject *)pack;
}

static void
pack_dealloc(PyObject *self)
{
    PyTypeObject *type = Py_TYPE(self);
    freefunc release_memory = (freefunc)PyType_GetSlot(type, Py_tp_free);
    release_memory(self);
    Py_DECREF(type);
}

static PyType_Slot pack_slots[] = {
    {Py_tp_doc, "A change of a text's counts, and what it does to the sums."},
    {Py_tp_dealloc, pack_dealloc},
    {0, NULL},
};

static PyType_Spec pack_spec = {
    .name = "guardsteer.classify.words._running.Pack",
    .basicsize = offsetof(Pack, data),
    .itemsize = sizeof(double),
    .flags = Py_TPFLAGS_DEFAULT | Py_TPFLAGS_DISALLOW_INSTANTIATION,
    .slots = pack_slots,
};

/* --- counts ----------------------------------------------------------------------------------------------- */

/* One more than the feature's number, 0 where the cell is free. */
typedef struct {
    int32_t key;
    int32_t count;
} Cell;

typedef struct {
    Cell *cells;
    uint32_t size; /* a power of two, more than twice as many as are used */
    uint32_t used;
    int shift;
} Table;

/* By how much a hash of 32 bits is shifted to give a place in so many cells. */
static int
shift_for(uint32_t size)
{
    int shift = 32;
    for (; size > 1; size /= 2)
        shift--;
    return shift;
}

static Cell *
cell_of(const Table *table, int32_t feature)
{
    int32_t key = feature + 1;
    uint32_t place = ((uint32_t)key * 2654435769u) >> table->shift;
    while (table->cells[place].key != 0 && table->cells[place].key != key)
        place = (place + 1) & (table->size - 1);
    return &table->cells[place];
}

/* Make room for so many features more; -1 with an error set where there is no memory. */
static int
make_room(Table *table, uint32_t more)
{
    uint64_t needed = 2 * ((uint64_t)table->used + more), size = table->size;
    if (size > needed)
        return 0;
    while (size <= needed)
        size *= 2;
    Cell *cells = size > UINT32_MAX / 2 ? NULL : PyMem_Calloc((size_t)size, sizeof(Cell));
    if (cells == NULL) {
        PyErr_NoMemory();
        return -1;
    }
    Table grown = {cells, (uint32_t)size, table->used, shift_for((uint32_t)size)};
    for (uint32_t place = 0; place < table->size; place++)
        if (table->cells[place].key != 0)
            *cell_of(&grown, table->cells[place].key - 1) = table->cells[place];
    PyMem_Free(table->cells);
    *table = grown;
    return 0;
}

/* Add a change's step; return what the count was. */
static int32_t
step_on(Table *table, const Change *change)
{
    Cell *cell = cell_of(table, change->feature);
    int32_t count = cell->count;
    if (cell->key == 0) {
        cell->key = change->feature + 1;
        table->used++;
    }
    cell->count = (int32_t)((uint32_t)count + (uint32_t)change->step);
    return count;
}

/* --- running ---------------------------------------------------------------------------------------------- */

typedef struct {
    PyObject_HEAD
    PyObject *classifier;
    PyObject *steps;
    PyObject *words; /* None where no text is read as a lone word; then so are the next two */
    PyObject *pairs;
    PyObject *known;
    PyObject *place;
    PyObject *cut;
    PyObject *before;
    PyObject *other;
    PyObject *difference;
    Table counts;
    double square;
    double *products; /* [output], and behind them the biases */
    int32_t outputs;
    char kind;
    char activation;
    char normed;
    char read;
} Running;

static double
value_of(char kind, int32_t count)
{
    if (count <= 0)
        return 0.0;
    return kind == BINARY || count == 1 ? 1.0 : 1.0 + log((double)count);
}

static int
add_curved(Running *self, const Pack *pack)
{
    double few[FEW], *gains = few, growth = 0.0;
    const Change *changes = (const Change *)pack->data;
    if (pack->count > FEW && (gains = PyMem_Malloc((size_t)pack->count * sizeof(double))) == NULL) {
        PyErr_NoMemory();
        return -1;
    }
    for (int32_t place = 0; place < pack->count; place++) {
        int32_t count = step_on(&self->counts, &changes[place]);
        double low = value_of(self->kind, count);
        double high = value_of(self->kind, count + changes[place].step);
        gains[place] = high - low;
        growth += changes[place].slope * (high - low) * (high + low);
    }
    const double *column = pack->data + pack->count * CHANGE_SIZE;
    for (int32_t output = 0; output < self->outputs; output++, column += pack->count) {
        double sum = 0.0;
        for (int32_t place = 0; place < pack->count; place++)
            sum += column[place] * gains[place];
        self->products[output] += sum;
    }
    self->square += growth;
    if (gains != few)
        PyMem_Free(gains);
    return 0;
}

static int
add_pack(Running *self, PyObject *given)
{
    if (!Py_IS_TYPE(given, pack_type)) {
        PyErr_SetString(PyExc_TypeError, "expected a pack that this module made");
        return -1;
    }
    const Pack *pack = (const Pack *)given;
    if (pack->outputs != self->outputs) {
        PyErr_Format(PyExc_ValueError, "a pack of %d outputs, expected %d", (int)pack->outputs,
                     (int)self->outputs);
        return -1;
    }
    int curved = self->kind == SUBLINEAR || self->kind == BINARY;
    if (pack->curved != curved) {
        PyErr_SetString(PyExc_ValueError, "a pack of another kind of value");
        return -1;
    }
    if (self->kind != PLAIN && make_room(&self->counts, (uint32_t)pack->count) < 0)
        return -1;
    if (curved)
        return add_curved(self, pack);
    for (int32_t output = 0; output < self->outputs; output++)
        self->products[output] += pack->data[output];
    if (self->kind == PLAIN)
        return 0;
    const Change *changes = (const Change *)(pack->data + pack->outputs);
    double growth = pack->growth;
    for (int32_t place = 0; place < pack->count; place++)
        growth += changes[place].slope * (double)step_on(&self->counts, &changes[place]);
    self->square += growth;
    return 0;
}

static PyObject *
running_add(PyObject *given, PyObject *pack)
{
    if (add_pack((Running *)given, pack) < 0)
        return NULL;
    Py_RETURN_NONE;
}

static void
replace(PyObject **held, PyObject *value)
{
    PyObject *former = *held;
    Py_INCREF(value);
    *held = value;
    Py_DECREF(former);
}

/* Take in what a text comes to. */
static int
take(Running *self, PyObject *place, PyObject *change, PyObject *before, PyObject *cut, PyObject *text)
{
    if (change != Py_None && add_pack(self, change) < 0)
        return -1;
    replace(&self->place, place);
    replace(&self->cut, cut);
    Py_ssize_t length = PyUnicode_GetLength(before);
    if (length < 0)
        return -1;
    if (length > 0) {
        replace(&self->before, before);
        return 0;
    }
    PyObject *behind =
        PyObject_CallMethodObjArgs(self->classifier, name_behind, self->before, text, NULL);
    if (behind == NULL)
        return -1;
    replace(&self->before, behind);
    Py_DECREF(behind);
    return 0;
}

/* Take in what a text that was read from a place comes to. */
static int
take_step(Running *self, PyObject *step, PyObject *text)
{
    if (!PyTuple_Check(step) || PyTuple_Size(step) != 4) {
        PyErr_SetString(PyExc_TypeError, "a step is a tuple of four");
        return -1;
    }
    return take(self, PyTuple_GetItem(step, 0), PyTuple_GetItem(step, 1), PyTuple_GetItem(step, 2),
                PyTuple_GetItem(step, 3), text);
}

/* Return what is kept, a new reference; NULL, and no error set, where nothing is. */
static PyObject *
kept(PyObject *dictionary, PyObject *key)
{
    PyObject *value = PyDict_GetItemWithError(dictionary, key);
    Py_XINCREF(value);
    return value;
}

/* Return what a word adds behind the words before it, a new reference; NULL, and no error set, where they are
   known as a pair and what that adds is not kept. */
static PyObject *
change_behind(Running *self, PyObject *previous, PyObject *word)
{
    Py_ssize_t count = PyTuple_Size(previous);
    PyObject *former = count > 0 ? PyTuple_GetItem(previous, count - 1) : NULL;
    PyObject *change = PyTuple_GetItem(word, 1);
    Py_INCREF(change);
    /* Of a word too long to be kept no vocabulary knows a pair. */
    if (former == NULL || !PyUnicode_Check(former))
        return change;
    PyObject *pair = PyUnicode_Concat(former, PyTuple_GetItem(word, 4));
    int known = pair == NULL ? -1 : PySequence_Contains(self->known, pair);
    if (known != 0)
        Py_CLEAR(change);
    if (known > 0)
        change = kept(self->pairs, pair);
    Py_XDECREF(pair);
    return change;
}

/* Take in a text behind white space that is a word kept by ``lone.py``; 1 where it is none, or where the
   classifier has to be asked. */
static int
take_lone(Running *self, PyObject *text)
{
    PyObject *word = kept(self->words, text);
    if (word == NULL)
        return PyErr_Occurred() ? -1 : 1;
    PyObject *previous = PyTuple_Check(self->cut) ? PyTuple_GetItem(self->cut, 1) : NULL;
    if (previous == NULL || !PyTuple_Check(previous) || !PyTuple_Check(word) || PyTuple_Size(word) != 5) {
        PyErr_SetString(PyExc_TypeError, "a place ends in a tuple of words, and a word is a tuple of five");
        Py_DECREF(word);
        return -1;
    }
    Py_INCREF(previous);
    PyObject *change = change_behind(self, previous, word);
    PyObject *place = change == NULL ? NULL : PyTuple_Pack(2, PyTuple_GetItem(word, 0), previous);
    int failed = PyErr_Occurred() ? -1 : 1;
    if (place != NULL)
        failed = take(self, place, change, PyTuple_GetItem(word, 2), PyTuple_GetItem(word, 3), text);
    Py_XDECREF(place);
    Py_XDECREF(change);
    Py_DECREF(previous);
    Py_DECREF(word);
    return failed;
}

/* Return the step that is kept for a text behind a place, or make it; a new reference. */
static PyObject *
step_of(Running *self, PyObject *place, PyObject *text)
{
    PyObject *key = PyTuple_Pack(2, place, text);
    if (key == NULL)
        return NULL;
    PyObject *step = kept(self->steps, key);
    if (step == NULL && !PyErr_Occurred())
        step = PyObject_CallMethodObjArgs(self->classifier, name_miss, (PyObject *)self, key, NULL);
    Py_DECREF(key);
    return step;
}

static int
push(Running *self, PyObject *text)
{
    if (!PyUnicode_Check(text)) {
        PyErr_SetString(PyExc_TypeError, "expected a text");
        return -1;
    }
    Py_ssize_t length = PyUnicode_GetLength(text);
    if (length == 0)
        return 0;
    self->read = 1;
    Py_ssize_t found = self->other != Py_None ? 0 : PyUnicode_FindChar(text, CAPITAL_SIGMA, 0, length, 1);
    if (found == -2)
        return -1;
    if (found >= 0) {
        PyObject *nothing =
            PyObject_CallMethodObjArgs(self->classifier, name_slowly, (PyObject *)self, text, NULL);
        Py_XDECREF(nothing);
        return nothing == NULL ? -1 : 0;
    }
    /* Behind white space the open unit stays as it is, so what it was does not matter. */
    Py_UCS4 first = PyUnicode_ReadChar(text, 0);
    int behind = (first == ' ' || first == '\n') && self->cut != Py_None;
    int failed = behind && self->words != Py_None ? take_lone(self, text) : 1;
    if (failed <= 0)
        return failed;
    PyObject *step = step_of(self, behind ? self->cut : self->place, text);
    if (step == NULL)
        return -1;
    failed = take_step(self, step, text);
    Py_DECREF(step);
    return failed;
}

static PyObject *
running_push(PyObject *given, PyObject *text)
{
    if (push((Running *)given, text) < 0)
        return NULL;
    Py_RETURN_NONE;
}

static double
sigmoid(double decision)
{
    return decision > -FAR_OUT ? 1.0 / (1.0 + exp(-decision)) : 0.0;
}

static PyObject *
tuple_of(const double *values, int32_t count)
{
    PyObject *tuple = PyTuple_New(count);
    for (int32_t place = 0; tuple != NULL && place < count; place++) {
        PyObject *value = PyFloat_FromDouble(values[place]);
        if (value == NULL || PyTuple_SetItem(tuple, place, value) < 0)
            Py_CLEAR(tuple);
    }
    return tuple;
}

/* Make decisions probabilities, in place. */
static void
activate(double *parts, int32_t outputs, char activation)
{
    double highest = parts[0], total = 0.0;
    for (int32_t output = 1; output < outputs; output++)
        highest = parts[output] > highest ? parts[output] : highest;
    for (int32_t output = 0; output < outputs; output++) {
        parts[output] = activation == SOFTMAX ? exp(parts[output] - highest) : sigmoid(parts[output]);
        total += parts[output];
    }
    if (activation == SIGMOID)
        return;
    for (int32_t output = 0; output < outputs; output++)
        parts[output] = total != 0.0 ? parts[output] / total : 1.0 / outputs;
}

/* Return the probabilities, in ``few`` or, where they are more, in memory to be freed. */
static double *
probabilities(const Running *self, double *few)
{
    int32_t outputs = self->outputs;
    double *parts = few;
    if (outputs > FEW && (parts = PyMem_Malloc((size_t)outputs * sizeof(double))) == NULL) {
        PyErr_NoMemory();
        return NULL;
    }
    double scale = self->normed && self->square > NO_NORM ? 1.0 / sqrt(self->square) : 1.0;
    for (int32_t output = 0; output < outputs; output++)
        parts[output] = self->read ? self->products[output] * scale + self->products[outputs + output] : 0.0;
    if (self->read && outputs == 1)
        parts[0] = sigmoid(parts[0]);
    else if (self->read)
        activate(parts, outputs, self->activation);
    return parts;
}

static PyObject *
running_scores(PyObject *given, PyObject *unused)
{
    (void)unused;
    const Running *self = (const Running *)given;
    double few[FEW], *parts = probabilities(self, few);
    PyObject *scores = parts == NULL ? NULL : tuple_of(parts, self->outputs);
    if (parts != few)
        PyMem_Free(parts);
    return scores;
}

static PyObject *
running_read_into(PyObject *given, PyObject *const *args, Py_ssize_t count)
{
    Running *self = (Running *)given;
    if (count != 3 || !PyList_Check(args[1])) {
        PyErr_SetString(PyExc_TypeError, "expected a text, a list of signals and the first one's place");
        return NULL;
    }
    Py_ssize_t first = PyLong_AsSsize_t(args[2]);
    if (first == -1 && PyErr_Occurred())
        return NULL;
    if (first < 0 || first > PyList_Size(args[1]) - self->outputs) {
        PyErr_Format(PyExc_IndexError, "no room for %d scores at %zd of %zd signals", (int)self->outputs,
                     first, PyList_Size(args[1]));
        return NULL;
    }
    if (push(self, args[0]) < 0)
        return NULL;
    double few[FEW], *parts = probabilities(self, few);
    int failed = parts == NULL;
    for (int32_t output = 0; !failed && output < self->outputs; output++) {
        PyObject *value = PyFloat_FromDouble(parts[output]);
        /* Gives the reference away, and notices where the classifier has made the list shorter. */
        failed = value == NULL || PyList_SetItem(args[1], first + output, value) < 0;
    }
    if (parts != few)
        PyMem_Free(parts);
    if (failed)
        return NULL;
    Py_RETURN_NONE;
}

static Running *
blank(PyTypeObject *type, int32_t outputs, uint32_t size)
{
    allocfunc alloc = (allocfunc)PyType_GetSlot(type, Py_tp_alloc);
    Running *self = (Running *)alloc(type, 0);
    if (self == NULL)
        return NULL;
    self->outputs = outputs;
    self->products = PyMem_Calloc(2 * (size_t)outputs, sizeof(double));
    self->counts.cells = PyMem_Calloc(size, sizeof(Cell));
    self->counts.size = size;
    if (self->products == NULL || self->counts.cells == NULL) {
        PyErr_NoMemory();
        Py_CLEAR(self);
    }
    return self;
}

static void
hold(Running *self, PyObject *const held[HELD_OBJECTS])
{
    PyObject **places[] = {&self->classifier, &self->steps, &self->words,  &self->pairs, &self->known,
                           &self->place,      &self->cut,   &self->before, &self->other, &self->difference};
    for (int each = 0; each < HELD_OBJECTS; each++) {
        Py_INCREF(held[each]);
        *places[each] = held[each];
    }
}

static PyObject *
running_new(PyTypeObject *type, PyObject *args, PyObject *kwargs)
{
    PyObject *classifier, *steps, *lone, *place, *cut, *bias, *words, *pairs, *known;
    words = pairs = known = Py_None;
    int kind, normed, activation, features;
    if (kwargs != NULL && PyDict_Size(kwargs) != 0) {
        PyErr_SetString(PyExc_TypeError, "Running takes no keywords");
        return NULL;
    }
    if (!PyArg_ParseTuple(args, "OO!OOOOipii:Running", &classifier, &PyDict_Type, &steps, &lone, &place, &cut,
                          &bias, &kind, &normed, &activation, &features))
        return NULL;
    if (lone != Py_None && !PyTuple_Check(lone)) {
        PyErr_SetString(PyExc_TypeError, "what is kept of lone words is a tuple of three, or None");
        return NULL;
    }
    if (lone != Py_None &&
        !PyArg_ParseTuple(lone, "O!O!O:Running", &PyDict_Type, &words, &PyDict_Type, &pairs, &known))
        return NULL;
    (void)features; /* a table has room for any */
    Py_ssize_t outputs = PySequence_Size(bias);
    if (outputs < 0)
        return NULL;
    if (outputs < 1 || outputs > INT32_MAX / 4 || kind < 0 || kind >= KINDS || activation < 0 ||
        activation >= ACTIVATIONS) {
        PyErr_SetString(PyExc_ValueError, "no outputs, or a kind or activation that there is not");
        return NULL;
    }
    Running *self = blank(type, (int32_t)outputs, FIRST_CELLS);
    if (self == NULL)
        return NULL;
    self->kind = (char)kind;
    self->square = kind == PLAIN ? 1.0 : 0.0; /* no norm is taken */
    self->normed = (char)normed;
    self->activation = (char)activation;
    self->counts.shift = shift_for(FIRST_CELLS);
    PyObject *empty = PyUnicode_FromString("");
    if (empty == NULL) {
        Py_DECREF(self);
        return NULL;
    }
    hold(self, (PyObject *[]){classifier, steps, words, pairs, known, place, cut, empty, Py_None, Py_None});
    Py_DECREF(empty);
    for (Py_ssize_t output = 0; output < outputs; output++) {
        PyObject *value = PySequence_GetItem(bias, output);
        self->products[outputs + output] = value == NULL ? -1.0 : PyFloat_AsDouble(value);
        Py_XDECREF(value);
    }
    if (PyErr_Occurred())
        Py_CLEAR(self);
    return (PyObject *)self;
}

static PyObject *
running_fork(PyObject *given, PyObject *unused)
{
    (void)unused;
    const Running *self = (const Running *)given;
    Running *twin = blank(Py_TYPE(given), self->outputs, self->counts.size);
    if (twin == NULL)
        return NULL;
    hold(twin, (PyObject *[]){self->classifier, self->steps, self->words, self->pairs, self->known,
                              self->place, self->cut, self->before, self->other, self->difference});
    memcpy(twin->counts.cells, self->counts.cells, self->counts.size * sizeof(Cell));
    memcpy(twin->products, self->products, 2 * (size_t)self->outputs * sizeof(double));
    twin->counts.used = self->counts.used;
    twin->counts.shift = self->counts.shift;
    twin->square = self->square;
    twin->kind = self->kind;
    twin->activation = self->activation;
    twin->normed = self->normed;
    twin->read = self->read;
    return (PyObject *)twin;
}

static PyObject *
running_products(PyObject *given, void *unused)
{
    (void)unused;
    return tuple_of(((const Running *)given)->products, ((const Running *)given)->outputs);
}

static void
running_dealloc(PyObject *given)
{
    Running *self = (Running *)given;
    PyTypeObject *type = Py_TYPE(given);
    freefunc release_memory = (freefunc)PyType_GetSlot(type, Py_tp_free);
    PyObject *held[] = {self->classifier, self->steps, self->words,  self->pairs, self->known,
                        self->place,      self->cut,   self->before, self->other, self->difference};
    for (int each = 0; each < HELD_OBJECTS; each++)
        Py_XDECREF(held[each]);
    PyMem_Free(self->counts.cells);
    PyMem_Free(self->products);
    release_memory(given);
    Py_DECREF(type);
}

static PyMethodDef running_methods[] = {
    {"push", running_push, METH_O, "Append a text; costs the same however much came before."},
    {"scores", running_scores, METH_NOARGS, "Return the probabilities [output] of the text so far."},
    {"read_into", (PyCFunction)(void (*)(void))running_read_into, METH_FASTCALL,
     "Append a text and write the probabilities into a list, from a place on."},
    {"add", running_add, METH_O, "Take in a change of the counts."},
    {"fork", running_fork, METH_NOARGS, "Return an independent copy; costs a copy of the counts."},
    {NULL, NULL, 0, NULL},
};

/* No member may be deleted: what they hold is never NULL. */
static PyObject *
held_at(PyObject *given, void *offset)
{
    PyObject *value = *(PyObject **)((char *)given + (Py_ssize_t)offset);
    Py_INCREF(value);
    return value;
}

static int
hold_at(PyObject *given, PyObject *value, void *offset)
{
    if (value == NULL) {
        PyErr_SetString(PyExc_AttributeError, "cannot be deleted");
        return -1;
    }
    replace((PyObject **)((char *)given + (Py_ssize_t)offset), value);
    return 0;
}

#define HELD(name) {#name, held_at, hold_at, NULL, (void *)offsetof(Running, name)}

static PyGetSetDef running_getset[] = {
    HELD(place),
    HELD(cut),
    HELD(before),
    HELD(other),
    HELD(difference),
    {"products", running_products, NULL, "The products with the weights, [output].", NULL},
    {NULL, NULL, NULL, NULL, NULL},
};

static PyMemberDef running_members[] = {
    {"square", T_DOUBLE, offsetof(Running, square), READONLY, "The squared norm."},
    {NULL, 0, 0, 0, NULL},
};

static PyType_Slot running_slots[] = {
    {Py_tp_doc, "What one row has read: the place in the text and the running sums."},
    {Py_tp_new, running_new},
    {Py_tp_dealloc, running_dealloc},
    {Py_tp_methods, running_methods},
    {Py_tp_getset, running_getset},
    {Py_tp_members, running_members},
    {0, NULL},
};

static PyType_Spec running_spec = {
    .name = "guardsteer.classify.words._running.Running",
    .basicsize = sizeof(Running),
    .flags = Py_TPFLAGS_DEFAULT,
    .slots = running_slots,
};

/* --- hashes ----------------------------------------------------------------------------------------------- */

static uint32_t
rotated(uint32_t value, int by)
{
    return value << by | value >> (32 - by);
}

static uint32_t
scrambled(uint32_t block)
{
    return rotated(block * 0xCC9E2D51u, 15) * 0x1B873593u;
}

/* MurmurHash3, as murmur.py has it (Austin Appleby, 2011, public domain). */
static PyObject *
murmur(PyObject *module, PyObject *data)
{
    (void)module;
    char *bytes;
    Py_ssize_t length, place;
    if (PyBytes_AsStringAndSize(data, &bytes, &length) < 0)
        return NULL;
    const unsigned char *read = (const unsigned char *)bytes;
    uint32_t hashed = 0, rest = 0;
    for (place = 0; place + 4 <= length; place += 4) {
        uint32_t block = (uint32_t)read[place] | (uint32_t)read[place + 1] << 8 |
                         (uint32_t)read[place + 2] << 16 | (uint32_t)read[place + 3] << 24;
        hashed = rotated(hashed ^ scrambled(block), 13) * 5u + 0xE6546B64u;
    }
    for (int shift = 0; place < length; place++, shift += 8)
        rest |= (uint32_t)read[place] << shift;
    hashed ^= scrambled(rest) ^ (uint32_t)length;
    hashed = (hashed ^ hashed >> 16) * 0x85EBCA6Bu;
    hashed = (hashed ^ hashed >> 13) * 0xC2B2AE35u;
    return PyLong_FromLong((int32_t)(hashed ^ hashed >> 16));
}

/* --- the module ------------------------------------------------------------------------------------------- */

static PyMethodDef functions[] = {
    {"pack", make_pack, METH_VARARGS, "Return a change of counts whose values are proportional to them."},
    {"murmur", murmur, METH_O, "Return the hash of bytes, as a signed number of 32 bits."},
    {"curved_pack", make_curved_pack, METH_VARARGS, "Return a change of counts whose values are not."},
    {NULL, NULL, 0, NULL},
};

static struct PyModuleDef definition = {
    PyModuleDef_HEAD_INIT,
    .m_name = "guardsteer.classify.words._running",
    .m_doc = "The compiled twin of guardsteer.classify.words.running.",
    .m_size = -1,
    .m_methods = functions,
};

PyMODINIT_FUNC
PyInit__running(void)
{
    PyObject *module = PyModule_Create(&definition);
    if (module == NULL)
        return NULL;
    PyObject *running_type = PyType_FromSpec(&running_spec);
    pack_type = (PyTypeObject *)PyType_FromSpec(&pack_spec);
    name_miss = PyUnicode_InternFromString("miss");
    name_slowly = PyUnicode_InternFromString("push_slowly");
    name_behind = PyUnicode_InternFromString("behind");
    if (running_type == NULL || pack_type == NULL || name_miss == NULL || name_slowly == NULL ||
        name_behind == NULL ||
        PyModule_AddIntConstant(module, "VERSION", VERSION) < 0 ||
        PyModule_AddObjectRef(module, "Running", running_type) < 0 ||
        PyModule_AddObjectRef(module, "Pack", (PyObject *)pack_type) < 0) {
        Py_XDECREF(running_type);
        Py_DECREF(module);
        return NULL;
    }
    Py_DECREF(running_type);
    return module;
}
