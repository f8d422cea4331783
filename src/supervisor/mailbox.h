// A list between threads that nobody ever waits for: put() links a node in front, take() takes the
// whole list and turns it round.
//
// Thread rule: any number of threads put, one takes. What one thread puts comes out in its order.
#pragma once

#include <algorithm>
#include <atomic>
#include <memory>
#include <utility>
#include <vector>

namespace fieldprint {

template <typename T>
class Mailbox {
 public:
  Mailbox() = default;
  ~Mailbox() { (void)take(); }
  Mailbox(const Mailbox&) = delete;
  Mailbox& operator=(const Mailbox&) = delete;

  void put(T value) {
    auto node = std::make_unique<Node>(std::move(value), newest_.load(std::memory_order_relaxed));
    // Only take() removes, and always everything: a node met again is never another one.
    while (!newest_.compare_exchange_weak(node->older, node.get(), std::memory_order_release,
                                          std::memory_order_relaxed)) {
    }
    (void)node.release();
  }

  bool empty() const { return newest_.load(std::memory_order_acquire) == nullptr; }

  std::vector<T> take() {
    std::vector<T> values;
    std::unique_ptr<Node> node(newest_.exchange(nullptr, std::memory_order_acquire));
    while (node != nullptr) {
      values.push_back(std::move(node->value));
      node.reset(node->older);
    }
    std::ranges::reverse(values);
    return values;
  }

 private:
  struct Node {
    Node(T v, Node* o) : value(std::move(v)), older(o) {}
    T value;
    Node* older;
  };
  std::atomic<Node*> newest_{nullptr};
};

}  // namespace fieldprint
