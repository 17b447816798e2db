#include "thread_pool.h"

#include <pthread.h>
#include <sched.h>
#include <unistd.h>

#include <atomic>
#include <condition_variable>
#include <cstdlib>
#include <mutex>
#include <thread>
#include <vector>

namespace mindvideo {
namespace {

int wished_threads() {
  // OMP_NUM_THREADS is not read: MindSpore sets it to 1 inside the process for its own reasons.
  const char *text = std::getenv("MINDVIDEO_NUM_THREADS");
  const int number = text ? std::atoi(text) : 0;
  return number > 0 && number <= 1024 ? number : 0;
}

int available_cores() {
#ifdef __linux__
  cpu_set_t set;
  if (sched_getaffinity(0, sizeof(set), &set) == 0) return CPU_COUNT(&set);
#endif
  const int cores = static_cast<int>(std::thread::hardware_concurrency());
  return cores > 0 ? cores : 1;
}

class Pool {
 public:
  explicit Pool(int threads) : threads_(threads) {
    for (int index = 1; index < threads; ++index) std::thread(&Pool::work, this, index).detach();
  }

  int threads() const { return threads_; }

  void run(int64_t units, Task task, void *context) {
    {
      std::lock_guard<std::mutex> lock(mutex_);
      task_ = task, context_ = context, units_ = units;
      next_.store(0, std::memory_order_relaxed);
      running_ = threads_ - 1;
      ++generation_;
    }
    wake_.notify_all();
    drain(task, context, units, 0);
    std::unique_lock<std::mutex> lock(mutex_);
    finished_.wait(lock, [this] { return running_ == 0; });
  }

  std::mutex busy;

 private:
  void drain(Task task, void *context, int64_t units, int thread) {
    for (int64_t unit; (unit = next_.fetch_add(1, std::memory_order_relaxed)) < units;) task(context, unit, thread);
  }

  void work(int thread) {
    uint64_t seen = 0;
    std::unique_lock<std::mutex> lock(mutex_);
    while (true) {
      wake_.wait(lock, [&] { return generation_ != seen; });
      seen = generation_;
      Task task = task_;
      void *context = context_;
      const int64_t units = units_;
      lock.unlock();
      drain(task, context, units, thread);
      lock.lock();
      if (--running_ == 0) finished_.notify_one();
    }
  }

  const int threads_;
  std::mutex mutex_;
  std::condition_variable wake_, finished_;
  std::atomic<int64_t> next_{0};
  Task task_ = nullptr;
  void *context_ = nullptr;
  int64_t units_ = 0;
  int running_ = 0;
  uint64_t generation_ = 0;
};

std::atomic<Pool *> current_pool{nullptr};
std::mutex creation;

// Threads do not survive a fork: the child starts a pool of its own. The parent's object is left as it is, since the
// child cannot know in what state its locks were.
void forget_pool() {
  current_pool.store(nullptr);
  new (&creation) std::mutex();
}

Pool &pool() {
  Pool *existing = current_pool.load(std::memory_order_acquire);
  if (existing) return *existing;
  std::lock_guard<std::mutex> lock(creation);
  existing = current_pool.load(std::memory_order_acquire);
  if (!existing) {
    static const int registered = pthread_atfork(nullptr, nullptr, forget_pool);
    (void)registered;
    existing = new Pool(thread_count());
    current_pool.store(existing, std::memory_order_release);
  }
  return *existing;
}

}  // namespace

int thread_count() {
  static const int count = [] {
    const int number = wished_threads();
    return number > 0 ? number : available_cores();
  }();
  return count;
}

void run_units(int64_t units, Task task, void *context) {
  if (units > 1 && thread_count() > 1) {
    Pool &workers = pool();
    std::unique_lock<std::mutex> lock(workers.busy, std::try_to_lock);
    if (lock.owns_lock()) {
      workers.run(units, task, context);
      return;
    }
  }
  for (int64_t unit = 0; unit < units; ++unit) task(context, unit, 0);
}

}  // namespace mindvideo
