// Two eCAP services for bench/floors/squid.py: one is given each request and leaves it as it is, one adds a header.

#define LIBECAP_VERSION "1.0.1"
#include <libecap/adapter/service.h>
#include <libecap/adapter/xaction.h>
#include <libecap/common/area.h>
#include <libecap/common/header.h>
#include <libecap/common/message.h>
#include <libecap/common/name.h>
#include <libecap/common/registry.h>
#include <libecap/host/xaction.h>

#include <ostream>

enum Way { CLEAR, LEAVE, ADD };

static const char *const NAMES[] = {"clear", "leave", "add"};

class Request final : public libecap::adapter::Xaction {
public:
	Request(Way its, libecap::host::Xaction *from) : way(its), host(from) {}

	void start() override
	{
		libecap::host::Xaction *const squid = host;

		host = nullptr;		// whatever we answer, it is done with us
		if (way != ADD) {
			squid->useVirgin();
			return;
		}
		static const libecap::Name name("freshline-epoch");
		const auto changed = squid->virgin().clone();
		changed->header().removeAny(name);
		changed->header().add(name, libecap::Area::FromTempString("0123456789abcdef.1234"));
		squid->useAdapted(changed);
	}

	void stop() override { host = nullptr; }
	const libecap::Area option(const libecap::Name &) const override { return libecap::Area(); }
	void visitEachOption(libecap::NamedValueVisitor &) const override {}
	void abDiscard() override {}
	void abMake() override {}
	void abMakeMore() override {}
	void abStopMaking() override {}
	libecap::Area abContent(libecap::size_type, libecap::size_type) override { return libecap::Area(); }
	void abContentShift(libecap::size_type) override {}
	void noteVbContentDone(bool) override {}
	void noteVbContentAvailable() override {}

private:
	const Way way;
	libecap::host::Xaction *host;
};

class Service final : public libecap::adapter::Service {
public:
	explicit Service(Way its) : way(its) {}

	std::string uri() const override { return std::string("ecap://freshline.test/") + NAMES[way]; }
	std::string tag() const override { return "1"; }
	void describe(std::ostream &to) const override { to << uri(); }
	void configure(const libecap::Options &) override {}
	void reconfigure(const libecap::Options &) override {}
	bool wantsUrl(const char *) const override { return way != CLEAR; }
	MadeXactionPointer makeXaction(libecap::host::Xaction *host) override
	{
		return MadeXactionPointer(new Request(way, host));
	}

private:
	const Way way;
};

static const bool registered[] = {
	libecap::RegisterVersionedService(new Service(CLEAR)),
	libecap::RegisterVersionedService(new Service(LEAVE)),
	libecap::RegisterVersionedService(new Service(ADD)),
};
