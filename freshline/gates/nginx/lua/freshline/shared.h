/*
 * What nginx's processes share, and what Lua asks of the module. The compiler and LuaJIT read it alike, so no line of it
 * is the preprocessor's. Another text wants another FRESHLINE_LAYOUT, or memory and Lua of one freshline meet the module
 * of another.
 */

enum {
	FRESHLINE_LAYOUT = 5,
	FRESHLINE_WORD = 136,		/* a log's name or a mark, and its end */
	FRESHLINE_NAME = 48,		/* "<generation>.<position>", and its end */
	FRESHLINE_AGES = 66,
	FRESHLINE_SLICES = 1024,
	FRESHLINE_LOCKS = 3
};

/* When a position was reached, on the clock that nobody sets and on the wall's. */
struct freshline_age {
	uint64_t position, boot_ms, wall_ms;
};

/* Where the gate stands. Written whole into the one of two places that is not read, so nobody sees half of it. */
struct freshline_standing {
	uint64_t known;			/* 0: its journal is being read */
	uint64_t position;
	uint64_t expired;		/* the last position whose rules are past their time */
	uint64_t n_ages;
	char log[FRESHLINE_WORD], mark[FRESHLINE_WORD];
	struct freshline_age ages[FRESHLINE_AGES];
};

struct freshline_state {
	uint64_t layout;
	uint64_t rules;			/* the name of the memory for rules that all this speaks of */
	uint64_t version;		/* another number whenever an answer may have become another */
	uint64_t bump;			/* the same, where no rule says so */
	uint64_t serving;		/* the generation in use: `generation`, or a throw-away one until the gate has caught up */
	uint64_t generation;		/* another one whenever the gate is flushed, overflows, or starts without a journal */
	uint64_t reach;			/* the last position that may have a rule: ahead of `position` during a batch */
	uint64_t lease;			/* milliseconds on the clock that nobody sets */
	uint64_t late;			/* until when somebody may wait for a fetch that brought tags too late */
	uint64_t unlearnt;		/* of what was fetched under a lower epoch, tags may have been forgotten */
	uint64_t tags, tags_settled;	/* the number of the memory for tags that answers are given by; and `unlearnt` says so */
	uint64_t tags_made;		/* so many there were, a failed reload's among them */
	uint64_t seed[2];		/* for the hashes of names */
	char boot[FRESHLINE_NAME];	/* the name of the clock of leases */
	char token[FRESHLINE_NAME];	/* what a fetch of the gate's own is known by */

	uint64_t turns;			/* where it stands is in standing[turns % 2] */
	struct freshline_standing standing[2];
	uint64_t locks[FRESHLINE_LOCKS];	/* who has it; 0: nobody */
	struct {
		uint64_t host, size;	/* the hash of a host and its size, one XOR the other: torn, they are of no host */
	} slices[FRESHLINE_SLICES];

	/* Only Lua's, under the gate's lock. */
	uint64_t swept;			/* up to here rules past their time were dropped */
	uint64_t journal_bytes, journal_base, journal_turn, replacing;
	uint64_t rest_until_ms;		/* before, no compaction is begun */
	uint64_t collapses, evictions;
};

struct freshline_answer {
	uint64_t position;
	char word[FRESHLINE_NAME];
};

/* The FRESHLINE_LAYOUT that the module was built with. */
int freshline_layout(void);
/* NULL where load_module names another file than Lua was told. */
struct freshline_state *freshline_state(void);
/* In the master: takes the file for all its processes, until the last has ended. 0: another nginx has it. */
int freshline_hold(const char *path);
/* In the master: from here on nobody gives answers, and who reads the journal stops, until there are rules anew. */
void freshline_rename(void);
/* With READING held: the memory holds no rules, and is the one that answers are given by. */
void freshline_renew(void);
/* False in a worker whose memory for rules a reload has replaced. */
int freshline_fits(void);

const struct freshline_standing *freshline_standing(void);
void freshline_stand(const char *log, double position, const char *mark);
/* The gate stands at that position now. Returns the one up to which rules are past their time. */
double freshline_reached(double position, double ttl_ms);
void freshline_age_anew(void);
/* Until the journal was read. */
void freshline_unknown(void);

/* Takes a lock that is free, or its owner's who died. 0: it is not to be had. */
uint64_t freshline_lock(int which);
void freshline_unlock(int which, uint64_t token);

uint64_t freshline_random(void);
void freshline_generation(uint64_t generation, char word[FRESHLINE_NAME]);
void freshline_serve(uint64_t generation);
void freshline_changed(int bump);

double freshline_now(int wall);
void freshline_lease_clock(char to[64]);
void freshline_lease_take(const char *header);
void freshline_lease_end(void);
double freshline_lease_left(void);

/* The verb is its first letter. Under the gate's lock, between begin and publish. 0: no room. */
void freshline_begin(void);
int freshline_put(double position, int verb, const char *host, size_t host_size, const char *what, size_t what_size);
void freshline_publish(void);
/* Lines of a journal. How many there were; -1: one is none; -2: no room. */
int freshline_load(const char *text, size_t size);
/* This very rule: still there, neither replaced nor dropped? And away with it. */
int freshline_live(double position, int verb, const char *host, size_t host_size, const char *what, size_t what_size);
void freshline_drop(double position, int verb, const char *host, size_t host_size, const char *what, size_t what_size);
void freshline_clear(void);
int freshline_patterns(const char *host, size_t size);
double freshline_rules(void);
double freshline_room(void);
/* NULL, or why it is no pattern. */
const char *freshline_refuses(const char *pattern, size_t size);

/* What a request for it that begins now would find. */
void freshline_look(const char *host, size_t host_size, const char *target, size_t target_size,
    struct freshline_answer *to);

/* The size of the host's slices, as it was last told; 0: not known. */
double freshline_slice(const char *host, size_t size);
void freshline_set_slice(const char *host, size_t size, double slice);

/*
 * A visit of the gate's own to the site, and what came of it. `head` is what its answer began with, NULL where there is
 * none; it stands until the next is asked for.
 */
struct freshline_visit {
	int number;
	int stored;			/* it was fetched, and is under this URL's key now, which is still the one to look up */
	int whole;
	int late;			/* nothing came for too long */
	int status;			/* 0: nothing was said */
	double bytes;			/* of its body */
	const char *head;
	size_t head_size;
};

struct freshline_party;

/* Is the site at an address that this process listens to, so that it can be visited without a socket? */
int freshline_door(const char *host, size_t size, int port);
/* Those that are asked for by one request, and whom to wake when some have ended. NULL: no memory. */
struct freshline_party *freshline_gather(void *request, int (*wake)(void *whom, int once), void *whom);
/* 0: it cannot be made. */
int freshline_visit(struct freshline_party *party, int number, const char *request, size_t size);
/* NULL: no other has ended yet. */
const struct freshline_visit *freshline_next(struct freshline_party *party);
/* How long until one of them has said nothing for so long. 0: one has, and counts as ended. */
double freshline_patience(struct freshline_party *party, double most_ms);
void freshline_leave(struct freshline_party *party);
/* The connection that a request came on ends with its answer, which must not have begun. */
void freshline_last(void *request);
