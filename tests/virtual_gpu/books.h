// The books of a virtual GPU: files in a folder, which all processes that use it share.
//
//   lock             held (flock) while bytes are taken or given back
//   device<N>.<pid>  "<start ticks of the process> <bytes taken> <of which context> <peak>", replaced as a whole
//   external<N>      bytes that other programs take of device N; written by the test
//   refused          a line "<pid> <device> <bytes>" for every allocation that did not fit

#pragma once

#include <fcntl.h>
#include <sys/file.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstring>
#include <filesystem>
#include <fstream>
#include <mutex>
#include <sstream>
#include <string>

#include "ggml.h"

namespace books {

namespace fs = std::filesystem;

// What a process has taken of a device.
struct Claim {
    unsigned long long start_ticks = 0, taken = 0, context = 0, peak = 0;
};

// When a process was started; 0 if it is dead. A zombie is: its memory is gone, only its parent has not looked yet.
inline unsigned long long start_ticks(pid_t pid) {
    std::ifstream file("/proc/" + std::to_string(pid) + "/stat");
    std::string line;
    std::getline(file, line);
    const size_t name_end = line.rfind(')');
    if (name_end == std::string::npos) return 0;
    std::istringstream fields(line.substr(name_end + 1));
    std::string field;
    for (int number = 3; number <= 22 && fields >> field; ++number)
        if (number == 3 && (field == "Z" || field == "X")) return 0;
    return std::strtoull(field.c_str(), nullptr, 10);
}

// One device, as this process sees it.
class Books {
  public:
    Books(fs::path folder, size_t number, size_t total, size_t context_bytes)
        : number_(std::to_string(number)), folder_(std::move(folder)), total_(total), context_bytes_(context_bytes) {}

    // Makes this process one that uses the device; false if there is no room for that.
    bool touch() {
        const Lock lock(*this);
        return touched();
    }

    bool take(size_t bytes) {
        const Lock lock(*this);
        return touched() && booked(bytes);
    }

    void give_back(size_t bytes) {
        const Lock lock(*this);
        own_.taken -= bytes;
        write();
    }

    void read(size_t * free, size_t * total) {
        const Lock lock(*this);
        *free = touched() ? this->free() : 0;
        *total = *free ? total_ : 0;
    }

  private:
    // Of all processes and threads.
    class Lock {
      public:
        explicit Lock(Books & books) : threads_(books.mutex_) {
            file_ = open((books.folder_ / "lock").c_str(), O_CREAT | O_RDWR | O_CLOEXEC, 0600);
            while (file_ < 0 || flock(file_, LOCK_EX) != 0)
                if (file_ < 0 || errno != EINTR) GGML_ABORT("virtual GPU: no lock: %s", strerror(errno));
        }
        ~Lock() { close(file_); }

      private:
        std::lock_guard<std::mutex> threads_;
        int file_;
    };

    bool touched() {
        if (own_.start_ticks) return true;
        own_.start_ticks = start_ticks(getpid());
        own_.context = context_bytes_;
        if (booked(context_bytes_)) return true;
        own_ = {};
        return false;
    }

    bool booked(size_t bytes) {
        if (bytes > free()) {
            std::ofstream(folder_ / "refused", std::ios::app) << getpid() << ' ' << number_ << ' ' << bytes << '\n';
            return false;
        }
        own_.taken += bytes;
        own_.peak = std::max(own_.peak, own_.taken);
        write();
        return true;
    }

    void write() const {
        const fs::path file = folder_ / ("device" + number_ + "." + std::to_string(getpid()));
        const fs::path fresh = folder_ / ("new-" + file.filename().string());
        std::ofstream out(fresh);
        out << own_.start_ticks << ' ' << own_.taken << ' ' << own_.context << ' ' << own_.peak << std::endl;
        if (!out) GGML_ABORT("virtual GPU: %s cannot be written", fresh.c_str());
        fs::rename(fresh, file);
    }

    size_t free() const {
        size_t external = 0;
        std::ifstream(folder_ / ("external" + number_)) >> external;
        size_t taken = external + own_.taken;
        const std::string prefix = "device" + number_ + ".";
        for (const fs::directory_entry & entry : fs::directory_iterator(folder_)) {
            const std::string file = entry.path().filename().string();
            if (file.rfind(prefix, 0) != 0) continue;
            const pid_t pid = std::stoi(file.substr(prefix.size()));
            if (pid == getpid()) continue;
            Claim claim;
            if (!(std::ifstream(entry.path()) >> claim.start_ticks >> claim.taken))
                GGML_ABORT("virtual GPU: %s cannot be read", entry.path().c_str());
            if (claim.start_ticks == start_ticks(pid)) taken += claim.taken;
        }
        return taken < total_ ? total_ - taken : 0;
    }

    const std::string number_;
    const fs::path folder_;
    const size_t total_, context_bytes_;
    Claim own_;
    std::mutex mutex_;
};

}  // namespace books
